"""Ladders of past minutes, and the export of stored answers."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from past_answers import STRIKES, store_answer
from small_builds import build_generation
from synthetic_prices import ingest_bars, publish_all, synthetic_bars, update_models

from pipelines.errors import NoDataError, SettingsError
from pipelines.evaluation.answer_files import write_answers
from pipelines.storage.models.past_ladders import past_ladder
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.prices.history import newest_bar_at

NOW = datetime(2030, 1, 1, tzinfo=UTC)
TIER_USD = 0.25


@pytest.fixture(scope="module")
def published(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Database:
    """30 days of bars of BTC, with every model that is built from counts, and a small one of momentum."""
    ingest_bars(database, "BTC", synthetic_bars(30), tmp_path_factory.mktemp("bars"))
    publish_all(database, "BTC", update_models(database, "BTC"))
    build_generation(database, "BTC", seed=1)
    return database


@pytest.fixture
def newest(published: Database) -> datetime:
    """Start of the newest bar."""
    with published.connect("test", Role.READER) as connection:
        found = newest_bar_at(connection, "BTC")
    assert found is not None
    return found


def close_of(database: Database, opened_at: datetime) -> float:
    with database.connect("test", None) as connection:
        row = connection.execute(
            "SELECT close FROM historical_data.price_history WHERE symbol = 'BTC' AND opened_at = %s", [opened_at]
        ).fetchone()
    assert row is not None
    return float(row[0])


@pytest.fixture
def no_answers(database: Database) -> None:
    with database.connect("test", None) as connection:
        connection.execute("TRUNCATE live_data.answer")


@pytest.mark.usefixtures("no_answers")
def test_a_past_minute_is_answered_from_the_bars_of_that_time(published: Database, newest: datetime) -> None:
    hour = newest.replace(minute=0) - timedelta(hours=2)
    at = hour + timedelta(minutes=45, seconds=30)
    found = past_ladder(published, "BTC", TIER_USD, at, NOW)
    assert (found["origin"], found["at"]) == ("computed", f"{hour:%Y-%m-%dT%H}:45:00Z")
    assert found["ttc_seconds"] == 900
    assert found["current_price"] == close_of(published, hour + timedelta(minutes=44))
    closing = close_of(published, hour + timedelta(minutes=59))
    assert found["closing_price"] == closing
    assert found["closed_at_or_above"] == [closing >= strike for strike in found["strikes"]]
    assert len(found["strikes"]) == len(found["probabilities"]) == 21
    assert [row["percent"] for row in found["quantiles"]] == [5, 25, 50, 75, 95]


@pytest.mark.usefixtures("no_answers")
@pytest.mark.parametrize("model", ["standardised", "student_t", "momentum"])
def test_the_answer_is_that_of_the_sql_function(published: Database, newest: datetime, model: str) -> None:
    at = newest.replace(minute=0) - timedelta(minutes=20)
    found = past_ladder(published, "BTC", TIER_USD, at, NOW, model)
    arguments = ["BTC", found["current_price"], found["ttc_seconds"], found["momentum_score"], model, at]
    with published.connect("test", Role.READER) as connection:
        for row in found["probabilities"]:
            answer = connection.execute(
                "SELECT prob_beyond FROM analytics.strike_probability(%s, %s, %s, %s, %s, %s, at => %s)",
                [*arguments[:2], row["strike"], *arguments[2:]],
            ).fetchone()
            assert answer is not None
            assert float(answer[0]) == pytest.approx(row["prob_beyond"], abs=0.011)


@pytest.mark.usefixtures("no_answers")
def test_a_stored_answer_comes_first_and_a_named_model_is_computed(published: Database, newest: datetime) -> None:
    at = newest.replace(minute=0) - timedelta(minutes=20)
    store_answer(published, at + timedelta(seconds=3))
    found = past_ladder(published, "BTC", TIER_USD, at, NOW)
    assert (found["origin"], found["status"], found["current_price"]) == ("stored", "ok", 100.0)
    assert [row["positive_prob"] for row in found["probabilities"]] == [79.5, None, 10.25]
    closing = close_of(published, newest.replace(minute=0) - timedelta(minutes=1))
    assert found["closed_at_or_above"] == [closing >= strike for strike in STRIKES]
    assert past_ladder(published, "BTC", TIER_USD, at, NOW, "momentum")["origin"] == "computed"


@pytest.mark.usefixtures("no_answers")
@pytest.mark.parametrize(("status", "source"), [("replay", None), ("stale", "replay")])
def test_an_answer_to_replayed_prices_has_no_outcome_in_the_bars(
    published: Database, newest: datetime, tmp_path: Path, status: str, source: str | None
) -> None:
    at = newest.replace(minute=0) - timedelta(minutes=20)
    store_answer(published, at, status=status, source=source)
    path = tmp_path / "answers.parquet"
    write_answers(published, "BTC", path)
    assert pl.read_parquet(path)["closing_price"].to_list() == [None] * 3
    found = past_ladder(published, "BTC", TIER_USD, at, NOW)
    assert (found["closing_price"], found["closed_at_or_above"]) == (None, [None] * 3)


@pytest.mark.usefixtures("no_answers")
def test_the_bar_does_not_settle_the_mean_of_a_minute(published: Database, newest: datetime, tmp_path: Path) -> None:
    at = newest.replace(minute=0) - timedelta(minutes=20)
    store_answer(published, at, settlement="mean_60s", source="kraken")
    found = past_ladder(published, "BTC", TIER_USD, at, NOW)
    assert (found["settlement"], found["closing_price"], found["closed_at_or_above"]) == ("mean_60s", None, [None] * 3)
    path = tmp_path / "answers.parquet"
    write_answers(published, "BTC", path)
    columns = ["settlement", "basis_bps", "source", "closing_price", "closed_at_or_above"]
    assert pl.read_parquet(path)[columns].rows() == [("mean_60s", None, "kraken", None, None)] * 3


@pytest.mark.usefixtures("no_answers")
@pytest.mark.parametrize(("basis_bps", "expected"), [(None, [True, False, False]), (3.0, [True, True, False])])
def test_an_outcome_is_that_of_the_markets_index(
    published: Database, newest: datetime, tmp_path: Path, basis_bps: float | None, expected: list[bool]
) -> None:
    at = newest.replace(minute=0) - timedelta(minutes=20)
    store_answer(published, at, settlement="mean_60s", basis_bps=basis_bps, closing_price=99.98)
    found = past_ladder(published, "BTC", TIER_USD, at, NOW)
    assert ((found["basis"] or {}).get("bps"), found["closing_price"], found["closed_at_or_above"]) == (
        basis_bps,
        99.98,
        expected,
    )
    path = tmp_path / "answers.parquet"
    write_answers(published, "BTC", path)
    table = pl.read_parquet(path)
    assert table["basis_bps"].to_list() == [basis_bps] * 3
    assert table["closed_at_or_above"].to_list() == expected
    with published.connect("test", Role.READER) as connection:
        rows = connection.execute("SELECT strike, happened FROM live_data.answer_strike ORDER BY strike").fetchall()
    assert rows == [(99.75, not expected[0]), (100.25, expected[2])], "100 has no answer"


@pytest.mark.usefixtures("no_answers")
def test_strikes_by_probability_are_chosen_for_past_minutes_too(published: Database, newest: datetime) -> None:
    at = newest.replace(minute=0) - timedelta(minutes=20)
    found = past_ladder(published, "BTC", TIER_USD, at, NOW, by_probability=True)
    chances = [row["positive_prob"] for row in found["probabilities"]]
    assert chances == sorted(chances, reverse=True)
    assert 2 < len(chances) <= 21
    assert all(0.5 < chance < 99.5 for chance in chances)


def test_a_minute_without_a_bar_or_that_is_not_past_is_refused(published: Database, newest: datetime) -> None:
    with pytest.raises(NoDataError, match="neither a stored answer nor a bar"):
        past_ladder(published, "BTC", TIER_USD, newest + timedelta(days=2), NOW)
    with pytest.raises(SettingsError, match="is not past"):
        past_ladder(published, "BTC", TIER_USD, NOW + timedelta(minutes=1), NOW)


@pytest.mark.usefixtures("no_answers")
@pytest.mark.parametrize("suffix", ["csv", "parquet", "ndjson"])
def test_answers_are_exported_with_their_outcomes(
    published: Database, newest: datetime, tmp_path: Path, suffix: str
) -> None:
    at = newest.replace(minute=0) - timedelta(minutes=20)
    store_answer(published, at, closing_price=100.1)
    store_answer(published, at + timedelta(days=1))
    path = tmp_path / f"answers.{suffix}"
    assert write_answers(published, "BTC", path) == 6
    read = {"csv": pl.read_csv, "parquet": pl.read_parquet, "ndjson": pl.read_ndjson}[suffix]
    table = read(path)
    assert table["strike"].to_list() == [*STRIKES] * 2
    assert table["prob_beyond"].to_list() == [20.5, None, 10.25] * 2
    assert table["at_or_above"].to_list() == [79.5, None, 10.25] * 2
    assert table["closed_at_or_above"].to_list()[:3] == [True, True, False]
    assert table["closing_price"].to_list()[3:] == [None] * 3
    assert write_answers(published, "BTC", path, at, at + timedelta(hours=1)) == 3


@pytest.mark.usefixtures("no_answers")
def test_an_export_of_nothing_leaves_an_existing_file(published: Database, tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    path.write_text("earlier")
    with pytest.raises(NoDataError, match="no answer of BTC is stored"):
        write_answers(published, "BTC", path)
    with pytest.raises(SettingsError, match="is not before"):
        write_answers(published, "BTC", path, NOW, NOW)
    assert path.read_text() == "earlier"
