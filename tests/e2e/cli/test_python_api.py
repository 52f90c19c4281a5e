"""The Python API, and the notebook that introduces it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbclient
import nbformat
import polars as pl
import pytest
from system import System

import strikecast
from pipelines.errors import NoDataError, SettingsError

NOTEBOOK = Path(__file__).parents[3] / "docs" / "analysis.ipynb"


@pytest.fixture
def scored(in_system: System) -> System:
    """The system with stored scores of its last days."""
    since = (datetime.now(UTC) - timedelta(days=3)).strftime("%Y-%m-%d")
    if "walk_forward" not in in_system.invoke("scores", "BTC").stdout:
        completed = in_system.invoke("score", "BTC", "--from", since, "--every", "30", "--store")
        assert completed.returncode == 0, completed.stderr
    return in_system


def test_bars_are_those_of_the_range(in_system: System) -> None:
    every = strikecast.bars("BTC")
    assert every.columns == ["opened_at", "open", "high", "low", "close", "volume", "archived"]
    assert every["opened_at"].is_sorted()
    middle = every["opened_at"][len(every) // 2]
    part = strikecast.bars("BTC", since=middle, until=middle + timedelta(hours=1))
    assert part.equals(every.filter(pl.col("opened_at").is_between(middle, middle + timedelta(hours=1), closed="left")))
    with pytest.raises(SettingsError, match="has no time zone"):
        strikecast.bars("BTC", since=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(SettingsError):
        strikecast.bars("XXX")


def test_a_ladder_falls_from_the_lowest_strike(in_system: System) -> None:
    price = strikecast.bars("BTC")["close"][-1]
    ladder = strikecast.ladder("BTC", price, ttc=900)
    assert len(ladder) == 21
    assert ladder["strike"].is_sorted()
    answered = ladder.drop_nulls("at_or_above_pct")["at_or_above_pct"]
    assert answered.is_sorted(descending=True)
    assert (ladder.drop_nulls()["low_pct"] <= ladder.drop_nulls()["at_or_above_pct"]).all()
    with pytest.raises(SettingsError, match="beyond the horizon"):
        strikecast.ladder("BTC", price, ttc=7200)
    with pytest.raises(SettingsError, match="price and sigma must be positive numbers"):
        strikecast.ladder("BTC", "95000", ttc=900)  # type: ignore[arg-type]


def test_stored_scores_are_listed_and_read(scored: System) -> None:
    scores = strikecast.scores("BTC")
    assert {"standardised", "momentum"} <= set(scores["model"])
    assert set(strikecast.scores("BTC", dimension="hour")["level"]) == {str(hour) for hour in range(24)}
    assert set(scores["settlement"]) == {"last_price"}
    listed = scored.invoke("scores", "BTC").stdout
    assert "standardised" in listed
    assert "last_price" in listed
    readme = "SELECT * FROM analytics.score JOIN analytics.score_run USING (score_run_id) WHERE dimension = 'all'"
    assert len(strikecast.query(readme)) == len(scores)


def test_without_answers_the_frame_is_empty(in_system: System) -> None:
    answers = strikecast.probabilities("BTC")
    assert answers.schema["answered_at"] == pl.Datetime("us", "UTC")
    assert answers.columns[-3:] == ["settlement", "basis_bps", "source"]
    assert len(answers) == 0
    with pytest.raises(NoDataError, match="the query failed"):
        strikecast.query("SELECT nothing")


def test_the_notebook_runs_and_is_stored_without_results(scored: System) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell for cell in cells if cell.outputs or cell.execution_count] == []
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    printed = [output for cell in cells for output in cell.outputs]
    assert len([one for one in printed if "image/png" in one.get("data", {})]) == 3
    assert "beyond the horizon" in printed[-1]["text"]
