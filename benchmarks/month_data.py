"""What a simulated day leaves behind: rows of a day, copies of a live run, and dates moved back to it."""

import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pipelines.storage.postgres.connection import Database

SYMBOLS = ["BTC", "ETH"]
TICKS_A_DAY = 1440
SESSIONS_A_DAY = 24
DAGSTER_TABLES = ("runs", "run_tags", "event_logs", "asset_event_tags", "asset_check_executions")


def fill(database: Database, first: date, days: int) -> None:
    """Store the rows of some days."""
    with psycopg.connect(database.url, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute("SET timezone = 'UTC'")
        for number in range(days):
            at = _midnight(first + timedelta(days=number))
            connection.execute(_sql("month_day"), {"day": at, "symbols": SYMBOLS})


def wait_for_a_live_run(url: str) -> str:
    """Set a run of the live job aside that has started and written its first events; its id."""
    end = time.monotonic() + 180
    while time.monotonic() < end:
        with psycopg.connect(url) as connection:
            row = connection.execute(
                "SELECT run_id FROM runs WHERE pipeline_name = 'live_refresh' AND status = 'STARTED' AND "
                "(SELECT count(*) FROM event_logs WHERE event_logs.run_id = runs.run_id) > 10"
            ).fetchone()
            if row is not None:
                break
        time.sleep(1)
    else:
        raise TimeoutError("no live session started")
    with psycopg.connect(url, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(_sql("month_template"), {"old": row[0]})
    return str(row[0])


def copy_live_runs(url: str, template: str, day: date) -> None:
    """A day's 24 runs of the live job."""
    with psycopg.connect(url, cursor_factory=psycopg.ClientCursor) as connection:
        for hour in range(SESSIONS_A_DAY):
            new = f"{day:%Y%m%d}-00{hour:02}-4000-8000-000000000000"
            at = _midnight(day) + timedelta(hours=hour)
            connection.execute(_sql("month_live_run"), {"old": template, "new": new, "at": at})


def date_back_run(url: str, run_id: str, at: datetime) -> None:
    """Let a run have ended at a time."""
    end = time.monotonic() + 60
    while True:
        try:
            with psycopg.connect(url) as connection:
                connection.execute(
                    "UPDATE runs SET create_timestamp = %(naive)s, update_timestamp = %(naive)s, "
                    "start_time = %(epoch)s, end_time = %(epoch)s + 1 WHERE run_id = %(run)s",
                    {"naive": at.replace(tzinfo=None), "epoch": at.timestamp(), "run": run_id},
                )
            return
        except psycopg.OperationalError:  # the server was killed a moment ago
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def date_back_live_runs(connection: psycopg.Connection, day: date) -> None:
    """Let the real session's runs that have ended have been of a day, or no policy would ever find them old."""
    connection.execute(
        "UPDATE runs SET start_time = %(epoch)s, end_time = %(epoch)s WHERE pipeline_name = 'live_refresh' "
        "AND status IN ('SUCCESS', 'FAILURE', 'CANCELED') AND coalesce(end_time, 1e12) > %(epoch)s + 86400",
        {"epoch": _midnight(day).timestamp()},
    )


def date_back_backups(folder: Path, since: datetime, at: datetime) -> None:
    """Let the backups that were made since then have been made at a time, by manifest and name."""
    for path in folder.glob("*/manifest.json"):
        manifest = orjson.loads(path.read_bytes())
        if datetime.fromisoformat(manifest["facts"]["snapshot_at"]) >= since - timedelta(seconds=2):
            manifest["facts"]["snapshot_at"] = at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
            path.write_bytes(orjson.dumps(manifest))
            path.parent.rename(path.parent.with_name(f"{path.parent.name.rsplit('-', 1)[0]}-{at:%Y%m%dT%H%M%S}Z"))


def dagster_size(connection: psycopg.Connection) -> tuple[int, int]:
    """Rows and bytes of Dagster's tables that grow with runs."""
    rows = bytes_ = 0
    for table in DAGSTER_TABLES:
        statement = sql.SQL("SELECT count(*), pg_total_relation_size({}) FROM {}")
        found = connection.execute(statement.format(table, sql.Identifier(table))).fetchone()
        assert found is not None
        rows, bytes_ = rows + found[0], bytes_ + found[1]
    return rows, bytes_


def live_size(connection: psycopg.Connection) -> tuple[int, int]:
    """Days of ticks up to now, and snapshots."""
    row = connection.execute(
        "SELECT (SELECT count(*) FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = "
        "'live_data.price_log'::regclass AND right(relname, 8) <= to_char(current_date, 'YYYYMMDD')), "
        "(SELECT count(*) FROM live_data.session_snapshots WHERE session_id LIKE 'month-%')"
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def checks(database: Database, last: date, days: int) -> list[tuple[str, str, bool]]:
    """Claim, figure, whether it holds; `last` is the last simulated day of `days`."""
    oldest_kept = last - timedelta(days=30)
    with psycopg.connect(database.url, row_factory=dict_row) as connection:
        found = connection.execute(_sql("month_verdicts"), {"oldest": _midnight(oldest_kept)}).fetchone()
    assert found is not None
    kept = (last - oldest_kept).days + 1
    wanted = kept * TICKS_A_DAY * len(SYMBOLS)
    wanted_snapshots = kept * TICKS_A_DAY - 180
    return [
        (
            f"ticks of the last {kept} days that are missing, of {days} days filled",
            f"{wanted - found['ticks']:,} of {wanted:,}",
            found["ticks"] == wanted,
        ),
        (
            "answers of these days that are missing",
            f"{wanted - found['answers']:,} of {wanted:,}",
            found["answers"] == wanted,
        ),
        (
            "snapshots of these days that are missing",
            f"{wanted_snapshots - found['snapshots']:,} of {wanted_snapshots:,}",
            found["snapshots"] == wanted_snapshots,
        ),
        (
            "ticks and snapshots that are older and still there",
            f"{found['older_ticks']:,} and {found['older_snapshots']:,}",
            found["older_ticks"] == found["older_snapshots"] == 0,
        ),
        ("sessions recorded as running that are not", str(found["running"]), found["running"] == 0),
    ]


def _sql(name: str) -> Any:
    return Path(__file__).with_name(f"{name}.sql").read_text()


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
