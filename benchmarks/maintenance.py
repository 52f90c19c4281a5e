"""The live session while the database is looked after: `python -m benchmarks.maintenance [--prices FOLDER]`.

One session, ticks inserted one after the other all the while; retention of a million rows, vacuums and backups run as
an operator would run them, each in a process of its own. About five minutes on an idle machine.
"""

from pathlib import Path

from benchmarks.latency_under_load import QUIET_SECONDS, compare, probed_session, run_benchmark
from benchmarks.live_processes import build_symbols
from benchmarks.results import Result
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.embedded import EmbeddedServer

REPEATS = 2
#: 250,000 snapshots of 500 sessions that ended long ago, with a position, metrics and limits each: a million rows.
SNAPSHOTS = """
INSERT INTO live_data.session_snapshots
    (session_id, created_at, session_start_time, mode, config, loop_count, status, snapshot_type)
SELECT 'old-' || n % 500, now() - interval '60 days' + n * interval '1 second', now(), 'paper', '{}', n, 'stopped',
    'on_stop'
FROM generate_series(1, 250000) AS n
"""
BELOW = """
WITH old AS (SELECT snapshot_id FROM live_data.session_snapshots WHERE session_id LIKE 'old-%'),
    metrics AS (INSERT INTO live_data.metrics_snapshots (snapshot_id) SELECT snapshot_id FROM old),
    risk AS (INSERT INTO live_data.risk_guard_snapshots (snapshot_id) SELECT snapshot_id FROM old)
INSERT INTO live_data.position_snapshots (snapshot_id, position_key, trade_data) SELECT snapshot_id, 'P', '{}' FROM old
"""
DEAD_ROWS = "UPDATE historical_data.price_history_btc SET volume = volume + 1 WHERE opened_at > '2025-01-01Z'"


def measure(home: Path, prices: Path) -> list[Result]:
    """Build both symbols from their price files, then tick beside each kind of maintenance."""
    environment = build_symbols(home, prices)
    with EmbeddedServer(home / "postgres").running() as url:
        database = Database(url)
        with database.connect("bench", None, autocommit=True) as connection:
            for statement in (SNAPSHOTS, BELOW):
                connection.execute(statement)
        with probed_session(database, home / "bench") as probe:
            quiet = probe.measure_for(QUIET_SECONDS)
            busy = {"retention deletes 1,000,000 rows": probe.measure_during_command(environment, "retention")}
            busy["vacuum runs"] = probe.measure_during_command(environment, "vacuum", "--reindex")
            for _ in range(REPEATS):
                _update_everything(database)
                busy["vacuum runs"] += probe.measure_during_command(environment, "vacuum")
            busy["a backup runs"] = probe.measure_during_command(environment, "backup", "create")
            quiet += probe.measure_for(QUIET_SECONDS)
    return [compare(what, samples, quiet, 2.0) for what, samples in busy.items()]


def _update_everything(database: Database) -> None:
    """Leave dead rows in half of a million bars."""
    with database.connect("bench", None, autocommit=True) as connection:
        connection.execute(DEAD_ROWS)


if __name__ == "__main__":
    run_benchmark("maintenance", __doc__, measure)
