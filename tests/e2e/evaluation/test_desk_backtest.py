"""Backtests of the paper desk through Dagster and the command line: no gain without intervals and variants."""

import json
import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import dagster as dg
import pytest
from stored_markets import events_of_ten_hours, store_markets
from system import System

from pipelines.service.job_runner import run_job
from pipelines.storage.postgres.connection import Role


@pytest.fixture(scope="module")
def quoted(system: System) -> System:
    """The system with quotes of each minute of the last ten hours of BTC's bars."""
    markets = events_of_ten_hours(system.database)
    rows = [
        (number, market.closes_at - timedelta(minutes=left), Decimal("0.30"), Decimal("0.33"))
        for number, market in enumerate(markets)
        for left in range(1, 60)
    ]
    with system.database.connect("test", None) as connection:
        store_markets(connection, markets, rows)
    return system


def test_a_symbol_without_markets_has_no_backtest(in_system: System, instance: dg.DagsterInstance) -> None:
    run_job("backtest_desk", "BTC")
    event = instance.get_latest_materialization_event(dg.AssetKey("desk_backtest"))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["dagster/row_count"].value == 0
    result = in_system.invoke("desk", "backtest", "BTC")
    assert result.returncode == 1
    assert "no markets of BTC are stored: `strikecast markets import PATH`" in result.stderr


def test_the_command_prints_gains_with_intervals_and_variants(quoted: System) -> None:
    result = quoted.invoke("desk", "backtest", "BTC", "--set", "probability=pool", COLUMNS="160")
    assert result.returncode == 0, result.stderr
    for text in (
        "KXBTCD on kalshi, BTC: 1,770 quotes of 10 events",
        "1 variant tried on these quotes, this one included; runs without --store are not counted",
        "gain by minutes to the close at the signal; 1 variant tried",
        "gain by side; 1 variant tried",
        "edge at the signals, by the probability that the desk believed",
        "the edge is below the threshold",
        "assumed: each quote shows 10 contracts: candles have no sizes",
        "assumed: past fits have no intervals: the gates of interval_share 0.5 and min_independent 30 are open",
    ):
        assert text in result.stdout
    (gain,) = re.findall(r"in all +([+-][\d.]+) +([+-][\d.]+) \.\. ([+-][\d.]+)", result.stdout)
    assert float(gain[1]) <= float(gain[0]) <= float(gain[2])
    assert "profit" not in result.stdout


def test_the_command_stores_a_report_and_counts_the_variant(quoted: System) -> None:
    options = ("desk", "backtest", "BTC", "--set", "probability=pool", "--json")
    (first,) = json.loads(quoted.invoke(*options, "--store").stdout)["series"]
    assert (first["variants"], first["rules"]["probability"], first["assumptions"]["shown_contracts"]) == (
        1,
        "pool",
        "10",
    )
    assert first["gain"]["by_event"][0] <= first["gain"]["value"] <= first["gain"]["by_event"][1]
    (second,) = json.loads(quoted.invoke(*options, "--set", "min_edge_usd=0.05", "--shown", "3").stdout)["series"]
    assert second["variants"] == 2
    assert Decimal(second["contracts"]) <= 3 * second["fills"]
    with quoted.database.connect("test", Role.READER) as connection:
        rows = connection.execute(
            "SELECT report FROM analytics.desk_backtest WHERE report->'rules'->>'probability' = 'pool'"
        )
        stored = [report for (report,) in rows.fetchall()]
    assert stored == [first]


def test_what_cannot_be_run_is_refused_in_one_line(quoted: System) -> None:
    for options, message in (
        (("--set", "edge=1"), "--set edge=1: expected RULE=VALUE"),
        (("--set", "stake_usd=much"), "--set: stake_usd: "),
        (("--from", "2025-01-02", "--to", "2025-01-01"), "the range of the backtest is empty"),
        (("--series", "KXBTC15M"), "no markets of KXBTC15M on BTC are stored"),
        (("--from", "2100-01-01"), "no series of BTC can be replayed: KXBTCD on kalshi: no market closes in the range"),
    ):
        result = quoted.invoke("desk", "backtest", "BTC", *options)
        assert result.returncode == 1, options
        assert message in result.stderr
        assert "Traceback" not in result.stderr


def test_the_asset_stores_a_backtest_by_the_settings_with_charts_and_checks(
    quoted: System, in_system: System, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIKECAST_DESK__PROBABILITY", "pool")
    run_job("backtest_desk", "BTC")
    event = instance.get_latest_materialization_event(dg.AssetKey("desk_backtest"))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    table = str(metadata["gains"].value)
    assert "KXBTCD | kalshi | 1,770 | 10 |" in table
    assert "variants tried" in table
    charts = [str(value.value) for name, value in metadata.items() if name.endswith("_chart")]
    assert len(charts) == 2
    assert all(Path(chart).read_bytes().startswith(b"\x89PNG") for chart in charts)
    with in_system.database.connect("test", Role.READER) as connection:
        rows = connection.execute(
            "SELECT trades > 0, variants FROM analytics.desk_backtest WHERE dagster_run_id IS NOT NULL"
        ).fetchall()
    assert [is_traded for is_traded, _ in rows] == [True]
    checks = instance.event_log_storage.get_latest_asset_check_execution_by_key(
        [dg.AssetCheckKey(dg.AssetKey("desk_backtest"), name) for name in ("every_trade_has_ended", "books_balance")]
    )
    assert [record.status.value for record in checks.values()] == ["SUCCEEDED", "SUCCEEDED"]
