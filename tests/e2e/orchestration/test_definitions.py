"""A snapshot of the definitions: assets, checks, jobs, sensors, schedules."""

import dagster as dg
import pytest

from pipelines.definitions import build_defs, defs
from pipelines.resources import SYMBOLS

LIVE_SPECS = {"price_log", "reference_value", "answer", "live_probabilities", "market_quote", "strike_table"}
LIVE_INPUTS = {
    "price_log",
    "reference_value",
    "active_generation",
    "active_standardised_generation",
    "volatility",
    "champion_change",
}
GRAPH = {
    "price_files": set(),
    "price_log": set(),
    "reference_value": set(),
    "price_history": {"price_files", "price_log"},
    "price_gap": {"price_history"},
    "momentum": {"price_history"},
    "fingerprint": {"price_history", "momentum"},
    "lookup": {"fingerprint"},
    "active_generation": {"lookup"},
    "volatility": {"price_history"},
    "standardised_fingerprint": {"price_history", "volatility"},
    "standardised_lookup": {"standardised_fingerprint"},
    "active_standardised_generation": {"standardised_lookup"},
    "calibration": {"price_history", "volatility"},
    "edge_score": {"price_history", "market", "market_candle"},
    "champion_change": {
        "price_history",
        "volatility",
        "calibration",
        "active_generation",
        "active_standardised_generation",
    },
    "answer": LIVE_INPUTS,
    "live_calibration": {"answer", "price_log"},
    "live_probabilities": LIVE_INPUTS,
    "market": set(),
    "market_fee": set(),
    "market_quote": {"market"},
    "market_candle": {"market", "market_quote"},
    "desk_backtest": {"price_history", "market", "market_candle", "market_fee"},
    "strike_table": {*LIVE_INPUTS, "market_quote", "edge_score"},
    "paper_desk": {"strike_table", "market"},
    "backup": set(),
    "price_archive": {"price_history"},
    "audit": set(),
}
#: Assets that are not partitioned by symbol: those of operations, and the account of the paper desk.
OPERATIONS = {"backup", "price_archive", "audit", "paper_desk"}
#: Assets that nobody promises to be fresh: inputs, tables without events, what is made on demand, and markets, which
#: need a source.
MARKETS = {"market", "market_fee", "market_quote", "market_candle", "strike_table", "paper_desk"}
WITHOUT_FRESHNESS = {"price_files", "price_log", "reference_value", "answer", "champion_change", *MARKETS}
LOOKUP_CHECKS = {"cells_complete", "percent_0_to_100", "monotone_in_move", "equals_interpolation_at_nodes", "read_p95"}
CHECKS = {
    "price_history": {"gap_share", "newest_bar_age"},
    "fingerprint": {"cells_complete", "percent_0_to_100", "monotone_in_move", "n_adds_up_to_the_bars"},
    "lookup": LOOKUP_CHECKS,
    "standardised_fingerprint": {"cells_complete", "percent_0_to_100", "monotone_in_move"},
    "standardised_lookup": LOOKUP_CHECKS,
    "calibration": {"no_band_is_off", "better_than_momentum", "no_drift"},
    "market": {"results_of_an_event_agree", "results_match_the_index", "closed_markets_are_settled"},
    "market_quote": {"quotes_not_crossed", "quotes_are_recent", "partitions_are_ahead"},
    "market_candle": {"ladder_monotone", "candles_not_crossed", "minutes_have_candles"},
    "paper_desk": {"desk_book_balances", "desk_positions_are_settled", "desk_replays_equal"},
    "desk_backtest": {"every_trade_has_ended", "books_balance"},
    "backup": {"restores"},
    "audit": {
        "autovacuum_as_declared",
        "reading_a_ladders_rows_p95",
        "tick_to_file_p99",
        "longest_time_between_refreshes",
        "age_of_the_probability_files",
        "lookup_against_interpolation",
        "live_sessions_share_of_the_last_day",
        "start_of_a_live_session",
        "reading_an_hour_of_bars_p95",
        "inserting_a_row_p95",
        "jsonb_of_the_newest_session_p95",
        "longest_transaction",
        "memory_of_all_processes",
        "syncing_the_disk_p95",
        "load_of_the_machine_5_minutes",
        "time_without_a_backup",
        "time_without_retention",
    },
}
NOT_BLOCKING = {
    "gap_share",
    "newest_bar_age",
    "read_p95",
    "restores",
    *CHECKS["calibration"],
    *CHECKS["market"],
    *CHECKS["market_quote"],
    *CHECKS["market_candle"],
    *CHECKS["paper_desk"],
    *CHECKS["desk_backtest"],
    *CHECKS["audit"],
}


def specs() -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


def test_asset_graph() -> None:
    found = {name: {dep.asset_key.to_user_string() for dep in spec.deps} for name, spec in specs().items()}
    assert found == GRAPH


def test_every_asset_has_owner_group_description_and_kinds() -> None:
    for name, spec in specs().items():
        assert list(spec.owners) == ["team:strikecast"], name
        assert spec.group_name in {
            "sources",
            "historical_data",
            "analytics",
            "live_data",
            "markets",
            "scores",
            "ops",
        }, name
        assert spec.description, name
        assert spec.kinds, name


def test_everything_promised_to_be_fresh_has_a_freshness_policy() -> None:
    assert {name for name, spec in specs().items() if spec.freshness_policy is None} == WITHOUT_FRESHNESS


def test_materializable_assets_link_to_their_source_code() -> None:
    for name, spec in specs().items():
        assert ("dagster/code_references" in spec.metadata) == (name not in {"price_files", *LIVE_SPECS}), name


def test_tables_are_partitioned_by_symbol_and_versioned() -> None:
    tables = {name: spec for name, spec in specs().items() if name in GRAPH and spec.partitions_def is not None}
    assert set(tables) == set(GRAPH) - {"price_files", *LIVE_SPECS - {"market_quote"}} - OPERATIONS
    for name, spec in tables.items():
        assert spec.partitions_def == SYMBOLS, name
        assert spec.code_version, name
        assert spec.automation_condition is None, f"{name}: the sensor rebuild_what_changed requests it"


def test_tables_show_their_columns_with_the_comments_of_the_database() -> None:
    shown = 0
    for name, spec in specs().items():
        if "dagster/table_name" in spec.metadata:
            schema = spec.metadata["dagster/column_schema"]
            assert isinstance(schema, dg.TableSchema)
            assert schema.columns, f"{name}: run `make reference`"
            assert all(column.description for column in schema.columns), name
            shown += 1
    assert shown == 23


def test_checks_and_which_of_them_block() -> None:
    graph = defs.resolve_asset_graph()
    found: dict[str, set[str]] = {}
    for key in graph.asset_check_keys:
        found.setdefault(key.asset_key.to_user_string(), set()).add(key.name)
        assert graph.get_check_spec(key).blocking == (key.name not in NOT_BLOCKING), key
        assert graph.get_check_spec(key).description, key
    assert found == CHECKS


def test_jobs_and_sensors() -> None:
    jobs = {job.name: job.description for job in defs.resolve_all_job_defs() if not job.name.startswith("__")}
    assert set(jobs) == {
        "ingest_prices",
        "build",
        "update_symbols",
        "check_stored",
        "live_refresh",
        "stop_desk",
        "start_desk",
        "calibrate",
        "score_live_answers",
        "score_edge",
        "backtest_desk",
        "promote",
        "backfill_markets",
        "report_desk",
        "replay_desk",
        "backup_database",
        "restore_drill",
        "make_partitions",
        "retention",
        "vacuum_database",
        "archive_prices",
        "rotate_logs",
        "audit_system",
    }
    assert all(jobs.values())
    sensors = {sensor.name: sensor.default_status for sensor in defs.sensors or ()}
    assert sensors == {
        "live_supervisor": dg.DefaultSensorStatus.RUNNING,
        "run_reaper": dg.DefaultSensorStatus.RUNNING,
        "watchdog": dg.DefaultSensorStatus.RUNNING,
        "a_run_failed": dg.DefaultSensorStatus.RUNNING,
        "rebuild_what_changed": dg.DefaultSensorStatus.RUNNING,
    }


def test_schedules_are_in_utc_and_on_by_default() -> None:
    found = {schedule.name: (schedule.cron_schedule, schedule.job_name) for schedule in defs.schedules or ()}
    assert found == {
        "weekly_calibration": ("0 4 * * 0", "calibrate"),
        "weekly_edge": ("30 4 * * 0", "score_edge"),
        "weekly_desk_backtest": ("45 4 * * 0", "backtest_desk"),
        "daily_live_calibration": ("10 0 * * *", "score_live_answers"),
        "backfill": ("20 */6 * * *", "update_symbols"),
        "daily_market_backfill": ("50 0 * * *", "backfill_markets"),
        "hourly_desk_report": ("5 * * * *", "report_desk"),
        "nightly_desk_replay": ("35 0 * * *", "replay_desk"),
        "daily_partitions": ("30 1 * * *", "make_partitions"),
        "weekly_vacuum": ("0 1 * * 0", "vacuum_database"),
        "daily_urgent_vacuum": ("0 1 * * 1-6", "vacuum_database"),
        "daily_logs": ("15 1 * * *", "rotate_logs"),
        "monthly_archive": ("30 2 1 * *", "archive_prices"),
        "daily_retention": ("0 2 * * *", "retention"),
        "nightly_backup": ("0 3 * * *", "backup_database"),
        "weekly_restore_drill": ("0 5 * * 0", "restore_drill"),
        "hourly_audit": ("40 0-2,4-23 * * *", "audit_system"),
        "nightly_audit": ("40 3 * * *", "audit_system"),
    }
    for schedule in defs.schedules or ():
        assert isinstance(schedule, dg.ScheduleDefinition)
        assert schedule.execution_timezone == "UTC"
        assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
        assert schedule.description


def test_loading_reads_no_environment_and_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIKECAST_DATABASE_URL", "not a url")
    dg.Definitions.validate_loadable(build_defs())
