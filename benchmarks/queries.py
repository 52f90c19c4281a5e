"""`strikecast query` on five years of BTC bars, against DuckDB on Parquet files: `python -m benchmarks.queries`.

The two oldest years are archived, the others stored. Each query runs within this process and as a process of its own,
against DuckDB on the same archived files, or on a Parquet file of all bars. The best of five runs, alternating; the
embedded server runs meanwhile. About two minutes on an idle machine.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import duckdb

from benchmarks.latency_under_load import run_benchmark
from benchmarks.price_files import price_file
from benchmarks.results import Result, best_seconds
from pipelines.deployment import running_server
from pipelines.settings import load_settings
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.queries.query import run_query

RUNS = 5
ARCHIVE = '{"after_months": 36, "most_months": 120}'
YARDSTICK = """
import sys, duckdb
with duckdb.connect() as connection:
    connection.execute("SET TimeZone = 'UTC'")
    connection.read_parquet(sys.argv[1]).create_view("file")
    connection.execute("CREATE VIEW price AS SELECT 'BTC' AS symbol, timestamp AS opened_at, * FROM file")
    connection.execute(sys.argv[2]).fetchall()
"""


@dataclass(frozen=True)
class Query:
    """A query, whether it reads archived bars only, and its limits: times DuckDB's duration, seconds of a process."""

    name: str
    statement: str
    is_archived: bool = False
    most_times: float | None = None
    most_seconds: float | None = None

    @property
    def target(self) -> str:
        """Its limit, for the table."""
        if self.most_times is not None:
            return f"at most {self.most_times:g} times within the process"
        return "-" if self.most_seconds is None else f"under {self.most_seconds:g} s with its start"


QUERIES = (
    Query("count of archived bars", "SELECT count(*) FROM price WHERE opened_at < '2023-01-01'", True, 1.5),
    Query(
        "archived bars by month",
        "SELECT date_trunc('month', opened_at), avg(close), max(high) FROM price WHERE opened_at < '2023-01-01' "
        "GROUP BY 1",
        True,
        1.5,
    ),
    Query(
        "all columns of archived bars",
        "SELECT sum(open + high + low + close + volume) FROM price WHERE opened_at < '2023-01-01'",
        True,
        1.5,
    ),
    Query(
        "stored bars of a day",
        "SELECT symbol, opened_at, open, high, low, close, volume FROM price "
        "WHERE opened_at >= '2026-07-01' AND opened_at < '2026-07-02' ORDER BY opened_at",
        most_seconds=2.0,
    ),
    Query("count of all bars", "SELECT count(*) FROM price"),
    Query("closes of all bars by year", "SELECT year(opened_at), avg(close) FROM price GROUP BY 1"),
)


def measure(home: Path, prices: Path) -> list[Result]:
    """Fill the home folder, then run every query in turn with its yardstick."""
    os.environ |= {"STRIKECAST_HOME": str(home), "STRIKECAST_ARCHIVE": ARCHIVE}
    file = price_file(prices, "BTC")
    for command in (["ingest", "BTC", str(file)], ["archive"]):
        subprocess.run([sys.executable, "-m", "pipelines.cli", *command], check=True, stdout=subprocess.DEVNULL)
    every = home / "btc_1m.parquet"
    with duckdb.connect() as connection:
        connection.read_parquet(str(file)).order("timestamp").write_parquet(str(every))
    settings = load_settings()
    with running_server(settings) as database:
        archived = settings.archive_dir / "BTC" / "*.parquet"
        return [
            _compare(database, settings.archive_dir, archived if query.is_archived else every, query)
            for query in QUERIES
        ]


def _compare(database: Database, archive: Path, files: Path, query: Query) -> Result:
    ours_inside = ours_whole = theirs_inside = theirs_whole = float("inf")
    command = [sys.executable, "-m", "pipelines.cli", "query", query.statement]
    for _ in range(RUNS):
        ours_inside = min(ours_inside, best_seconds(lambda: _ours(database, archive, query.statement), 1))
        theirs_inside = min(theirs_inside, best_seconds(lambda: _duckdb(files, query.statement), 1))
        ours_whole = min(ours_whole, best_seconds(lambda: _run(command), 1))
        yardstick = [sys.executable, "-c", YARDSTICK, str(files), query.statement]
        theirs_whole = min(theirs_whole, best_seconds(lambda: _run(yardstick), 1))  # noqa: B023 (called at once)
    times, whole_times = ours_inside / theirs_inside, ours_whole / theirs_whole
    return Result(
        query.name,
        f"{ours_inside:.3f} s within the process, {ours_whole:.2f} s with its start",
        f"{theirs_inside:.3f} s and {theirs_whole:.2f} s, DuckDB on Parquet (ours takes {times:.2f} and "
        f"{whole_times:.1f} times that)",
        query.target,
        times <= (query.most_times or float("inf")) and ours_whole <= (query.most_seconds or float("inf")),
        {"ours": [ours_inside, ours_whole], "duckdb": [theirs_inside, theirs_whole]},
    )


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _ours(database: Database, archive: Path, statement: str) -> None:
    with database.connect("query", Role.READER) as connection, run_query(connection, archive, statement) as result:
        list(result.rows())


def _duckdb(files: Path, statement: str) -> None:
    sys.argv[1:] = [str(files), statement]
    exec(YARDSTICK, {})  # noqa: S102 (the same code as in a process of its own)


if __name__ == "__main__":
    run_benchmark("queries", __doc__, measure)
