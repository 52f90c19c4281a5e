"""Scores, promotion and live answers through Dagster."""

import json
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from past_answers import store_answer, store_ticks
from schedules import tick
from system import System
from waiting import avoid_hour_boundary

from pipelines.definitions import defs
from pipelines.domain.evaluation import promotion
from pipelines.errors import BuildError
from pipelines.evaluation.calibration_report import report_path
from pipelines.service.builds import write_synthetic_bars
from pipelines.service.instance import register_symbols
from pipelines.service.job_runner import run_job
from pipelines.storage.models.champions import read_champion
from pipelines.storage.models.ladders import ladder_payload
from pipelines.storage.postgres.connection import Role


@pytest.fixture(scope="module")
def scored(system: System) -> System:
    """The system with 80 days of ETH, enough to fit and score."""
    for command in (["sample", "ETH", "--days", "80", "--seed", "3"], ["build", "ETH"]):
        result = system.invoke(*command)
        assert result.returncode == 0, result.stderr
    return system


def latest(instance: dg.DagsterInstance, asset: str) -> dg.AssetMaterialization:
    event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    assert event is not None
    assert event.asset_materialization is not None
    return event.asset_materialization


def test_calibration_stores_scores_and_writes_a_report(
    scored: System, in_system: System, instance: dg.DagsterInstance
) -> None:
    run_job("calibrate", "ETH")
    metadata = latest(instance, "calibration").metadata
    assert metadata["champion"].value == "standardised"
    for model in ("standardised", "momentum"):  # numbers, which the UI plots over time
        assert 0 < metadata[f"brier_{model}"].value < 0.25
        assert isinstance(metadata[f"skill_pct_{model}"].value, float)
    page = report_path(in_system.settings.reports_dir, "ETH").read_text()
    assert page.count("<svg") >= 3
    assert "standardised predicted" in page
    assert "settled by the last price" in page
    assert metadata["settlement"].value.startswith("last_price: ")
    with in_system.database.connect("test", Role.READER) as connection:
        models = connection.execute(
            "SELECT model, count(*), min(skill) FROM analytics.score WHERE score_run_id = %s GROUP BY model ORDER BY model",
            [metadata["score_run"].value],
        ).fetchall()
        bands = connection.execute(
            "SELECT count(*) FROM analytics.score WHERE score_run_id = %s AND dimension = 'band_60_min_50_bps' "
            "AND model = 'standardised'",
            [metadata["score_run"].value],
        ).fetchone()
    assert [row[0] for row in models] == ["climatology", "momentum", "normal", "standardised", "student_t"]
    assert models[3][2] > 0, "standardised has skill where volatility clusters"
    assert bands == (10,)


def test_a_challenger_that_is_not_better_is_not_promoted(scored: System, in_system: System) -> None:
    with pytest.raises(BuildError, match="momentum is not promoted over standardised for ETH: its Brier score is not"):
        run_job("promote", "ETH", {"champion_change": {"model": "momentum"}})
    with in_system.database.connect("test", Role.READER) as connection:
        assert read_champion(connection, "ETH").champion == "standardised"


def test_a_better_challenger_is_promoted_with_its_evidence(
    scored: System, in_system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 40 days are 960 hours: sampling error of a tenth is about five points.
    monkeypatch.setattr(promotion, "BAND_MARGIN_POINTS", 10.0)
    with in_system.database.connect("test", Role.OWNER) as connection:
        connection.execute(
            "INSERT INTO analytics.champion_change (symbol, champion, reason) VALUES ('ETH', 'climatology', 'a test')"
        )
    run_job("promote", "ETH", {"champion_change": {"model": "standardised"}})
    with in_system.database.connect("test", Role.READER) as connection:
        champion = read_champion(connection, "ETH")
        row = connection.execute(
            "SELECT evidence, dagster_run_id FROM analytics.champion_change ORDER BY champion_change_id DESC LIMIT 1"
        ).fetchone()
    assert (champion.champion, champion.challenger) == ("standardised", "climatology")
    assert row is not None
    assert row[0]["brier"] < row[0]["brier_champion"]
    assert row[0]["brier_difference"][2] < 0
    assert row[1] is not None


def test_yesterdays_live_answers_are_settled_and_scored(
    scored: System, in_system: System, instance: dg.DagsterInstance
) -> None:
    avoid_hour_boundary()
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    close = today - timedelta(hours=5)
    ladder = {"symbol": "ETH", "strikes": [99.0, 100.0, 101.0, 102.0], "prob_beyond": [20.0, 50.0, 70.0, 10.0]}
    ladder |= {"model": "standardised", "settlement": "mean_60s"}
    store_ticks(in_system.database, "ETH", close, [(second, 101.5) for second in range(1, 61)])
    for minutes, settled in ((30, close), (10, close), (20, close - timedelta(hours=3))):
        store_answer(in_system.database, settled - timedelta(minutes=minutes), **ladder)  # type: ignore[arg-type]
    store_answer(in_system.database, close - timedelta(minutes=5), **ladder, status="replay")  # type: ignore[arg-type]
    for days in (1, 0, 0):
        run_job("score_live_answers", "ETH")
        metadata = latest(instance, "live_calibration").metadata
        assert (metadata["answers_settled"].value, metadata["days_scored"].value) == (2 * days, days)
        if days:
            assert (metadata["answers_replayed"].value, metadata["answers_unsettled"].value) == (1, 1)
            assert "1 answers to replayed prices, which are no out-of-sample outcomes" in metadata["left_out"].value
            assert "mean_60s" in metadata["scores"].value
            assert 0 < metadata["brier_standardised_mean_60s"].value < 1
    with in_system.database.connect("test", Role.READER) as connection:
        rows = connection.execute(
            "SELECT settlement, n, mean_probability, happened, brier FROM analytics.score JOIN analytics.score_run "
            "USING (score_run_id) WHERE origin = 'live' AND dimension = 'all' AND model = 'standardised'"
        ).fetchall()
        unsettled = connection.execute(
            "SELECT count(*) FROM live_data.answer WHERE market_close = %s AND closing_price IS NOT NULL",
            [close - timedelta(hours=3)],
        ).fetchone()
    assert len(rows) == 1, "scored once"
    expected = ((0.2 - 0) ** 2 + (0.5 - 0) ** 2 + (0.7 - 1) ** 2 + (0.1 - 0) ** 2) / 4
    assert rows[0][:2] == ("mean_60s", 8), "two answers of four strikes; the one without a closing price is left out"
    assert rows[0][2:] == pytest.approx((0.375, 0.25, expected), abs=1e-6)
    assert unsettled == (0,)


def test_a_symbol_with_too_little_history_is_served_by_momentum(
    in_system: System, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_sol = {"SOL": {"strike_tier_usd": 1.0}, "BTC": {"enabled": False}, "ETH": {"enabled": False}}
    monkeypatch.setenv("STRIKECAST_SYMBOLS", json.dumps(only_sol))  # no other symbol to borrow from
    path = write_synthetic_bars("SOL", 3, 4, datetime.now(UTC), in_system.home / "sol.parquet")
    run_job("ingest_prices", "SOL", {"price_history": {"paths": [str(path)]}})
    run_job("build", "SOL")
    with in_system.database.connect("test", Role.READER) as connection:
        assert read_champion(connection, "SOL").champion == "momentum"
    payload = ladder_payload(in_system.database, "SOL", 1.0, 100.0, 900.0, 0.01)
    assert payload["model"] == "momentum"
    instance.delete_dynamic_partition("symbol", "SOL")


def test_each_schedule_requests_a_run_per_symbol(in_system: System, instance: dg.DagsterInstance) -> None:
    register_symbols(instance, ["ETH"])
    for name, job in (
        ("weekly_calibration", "calibrate"),
        ("weekly_edge", "score_edge"),
        ("daily_live_calibration", "score_live_answers"),
    ):
        assert defs.get_repository_def().get_schedule_def(name).job_name == job
        requests, _ = tick(instance, name, datetime(2026, 1, 4, 4, tzinfo=UTC))
        assert {(request.partition_key, request.run_key) for request in requests} >= {
            ("ETH", "2026-01-04T04:00:00+00:00 ETH")
        }


def test_the_score_command_prints_json(scored: System) -> None:
    result = scored.invoke("score", "ETH", "--model", "standardised", "--model", "momentum", "--every", "30", "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["settlement"] == "last_price"
    assert {row["settlement"] for row in report["scores"]} == {"last_price"}
    skills = {row["model"]: row["skill"] for row in report["scores"] if row["dimension"] == "all"}
    assert skills["standardised"] > skills["momentum"]
    assert report["plan"]["models"] == ["climatology", "standardised", "momentum"]
    brier = {row["model"]: row["brier"] for row in report["scores"] if row["dimension"] == "all"}
    for model, parts in report["murphy"].items():
        summed = parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within_bin"]
        assert summed == pytest.approx(brier[model], abs=1e-9)
    failed = scored.invoke("score", "ETH", "--model", "standardised", "--every", "30", "--train-to", "2026-01-01")
    assert failed.returncode == 1, "train-to lies before the first bar"
    assert "Traceback" not in failed.stderr
