"""Scores against quotes through Dagster and the command line: tables, charts, and what is served."""

import json
from pathlib import Path

import dagster as dg
import pytest
from stored_markets import candle_rows, events_of_ten_hours, store_markets
from system import System

from pipelines.service.job_runner import run_job
from pipelines.storage.evaluation.edge import read_pool_decisions
from pipelines.storage.postgres.connection import Role


@pytest.fixture(scope="module")
def quoted(system: System) -> System:
    """The system with markets of the last ten hours of BTC's bars, on the exchange and on the simulated one."""
    markets = events_of_ten_hours(system.database)
    with system.database.connect("test", None) as connection:
        store_markets(connection, markets, candle_rows(markets))
        store_markets(connection, markets[:6], candle_rows(markets[:6]), exchange="simulated")
    return system


def materialized(instance: dg.DagsterInstance) -> dg.AssetMaterialization:
    event = instance.get_latest_materialization_event(dg.AssetKey("edge_score"))
    assert event is not None
    assert event.asset_materialization is not None
    return event.asset_materialization


def test_a_symbol_without_markets_has_no_scores(in_system: System, instance: dg.DagsterInstance) -> None:
    run_job("score_edge", "BTC")
    metadata = materialized(instance).metadata
    assert (metadata["dagster/row_count"].value, metadata["scores"].value) == (0, "none")
    result = in_system.invoke("edge", "BTC")
    assert result.returncode == 1
    assert "no markets of BTC are stored: `strikecast markets import PATH`" in result.stderr


def test_the_asset_stores_scores_of_each_series_with_tables_and_charts(
    quoted: System, in_system: System, instance: dg.DagsterInstance
) -> None:
    run_job("score_edge", "BTC")
    metadata = materialized(instance).metadata
    table = str(metadata["scores"].value)
    assert "KXBTCD | kalshi | 300 | 10 |" in table
    assert "KXBTCD | simulated | 60 | 2 |" in table
    assert "KXBTCD | kalshi | mid | 10 settled events, 200 are needed" in str(metadata["served"].value)
    charts = [str(value.value) for name, value in metadata.items() if name.endswith("_chart")]
    assert len(charts) == 6
    assert all(Path(chart).read_bytes().startswith(b"\x89PNG") for chart in charts)
    assert isinstance(metadata["brier_pool_minus_mid_kalshi_KXBTCD"].value, float)
    with in_system.database.connect("test", Role.READER) as connection:
        rows = connection.execute(
            "SELECT exchange, events, dagster_run_id IS NOT NULL FROM analytics.edge_run ORDER BY exchange"
        ).fetchall()
        count = connection.execute("SELECT count(*) FROM analytics.edge_score").fetchone()
        decisions = read_pool_decisions(connection, "kalshi")
    assert rows == [("kalshi", 10, True), ("simulated", 2, True)]
    assert count == (metadata["dagster/row_count"].value,)
    assert decisions["KXBTCD"].reason == "10 settled events, 200 are needed"


def test_the_command_prints_the_table_and_what_is_served(quoted: System) -> None:
    result = quoted.invoke("edge", "BTC", COLUMNS="160")
    assert result.returncode == 0, result.stderr
    for text in (
        "KXBTCD on kalshi, BTC: 300 quotes of 10 events",
        "KXBTCD on simulated, simulated markets, BTC: 60 quotes of 2 events",
        "climatology",
        "by minutes to the close",
        "by cents between bid and ask",
        "by fifth of the minutes by volatility forecast",
        "by these scores: mid, 10 settled events, 200 are needed",
    ):
        assert text in result.stdout
    assert "profit" not in result.stdout


def test_the_command_prints_json_of_a_range(quoted: System) -> None:
    whole = json.loads(quoted.invoke("edge", "BTC", "--series", "KXBTCD", "--json").stdout)
    (found, _) = whole["series"]
    assert (found["exchange"], found["events"], found["by_these_scores"]["served"]) == ("kalshi", 10, "mid")
    first = found["scores"][0]
    assert (first["dimension"], first["forecaster"]) == ("all", "mid")
    assert first["brier"]["by_event"][0] < first["brier"]["value"] < first["brier"]["by_event"][1]
    start = found["to"][:10] + "T" + found["to"][11:16]
    part = json.loads(quoted.invoke("edge", "BTC", "--from", f"{start}:00", "--json").stdout)
    (only,) = part["series"]
    assert only["events"] == 1
    assert only["scores"][0]["brier"]["by_event"] is None
    assert [one["exchange"] for one in part["not_scored"]] == ["simulated"]


def test_the_command_stores_only_scores_of_all_quotes(quoted: System) -> None:
    refused = quoted.invoke("edge", "BTC", "--store", "--from", "2025-01-01")
    assert refused.returncode == 1
    assert "--store is for the scores of all stored quotes" in refused.stderr

    def runs() -> int:
        with quoted.database.connect("test", Role.READER) as connection:
            row = connection.execute("SELECT count(*) FROM analytics.edge_run").fetchone()
        assert row is not None
        return int(row[0])

    before = runs()
    stored = quoted.invoke("edge", "BTC", "--store", COLUMNS="160")
    assert stored.returncode == 0, stored.stderr
    assert "live sessions serve the mid" in stored.stdout
    assert runs() == before + 2
    unknown = quoted.invoke("edge", "BTC", "--series", "KXBTC15M")
    assert "no markets of KXBTC15M on BTC are stored" in unknown.stderr
