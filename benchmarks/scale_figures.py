"""What a database with many symbols costs: catalog, queries, backup, Dagster's events and ticks, pages."""

import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import LiteralString
from urllib.request import urlopen

import orjson
import psutil
import psycopg
from psycopg.rows import dict_row

from benchmarks.live_processes import wait_for
from benchmarks.results import percentiles_ms
from benchmarks.scale_home import ScaleHome
from pipelines.live.probability_writer import probabilities_path
from pipelines.processes.pid_file import process_tree
from pipelines.storage.models.champions import champion_generations
from pipelines.storage.models.generations import active_generation, read_version
from pipelines.storage.models.tables import read_lookup_rows
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.postgres.statements import Statements, read_value

Figures = dict[str, float]
SQL = Statements(__name__)
#: What analysts ask.
QUERIES = ("fingerprint_view", "lookup_cell", "strike_probability", "bars_of_a_day", "champions")
WARM_READS = 20


def catalog(database: Database) -> Figures:
    """Rows of pg_class and size of the system catalogs, and of the whole database, MB."""
    with database.connect("bench", None) as connection:
        return _figures(connection, SQL["catalog"])


def queries(database: Database, symbols: Sequence[str]) -> Figures:
    """Milliseconds of each query, first on a new connection and then again; locks that it holds until its commit."""
    found: Figures = {}

    def measure(name: str, role: Role, query: Callable[[Connection], object]) -> None:
        firsts, again = [], []
        for _ in range(3):
            with database.connect("bench", role) as connection:
                connection.execute("SELECT 1")
                before = _value(connection, SQL["own_locks"])
                firsts.append(_seconds(lambda: query(connection)))
                found[f"{name}_locks"] = _value(connection, SQL["own_locks"]) - before
                again += [_seconds(lambda: query(connection)) for _ in range(WARM_READS)]
        found[f"{name}_first_ms"] = 1000 * statistics.median(firsts)
        found[f"{name}_again_ms"] = 1000 * statistics.median(again)

    for name in QUERIES:
        measure(name, Role.READER, lambda connection, name=name: connection.execute(SQL[name]).fetchall())
    with database.connect("bench", Role.READER) as connection:
        version = read_version(connection, active_generation(connection, "BTC", "standardised"))
    measure("live_lookup_rows", Role.LIVE, lambda connection: read_lookup_rows(connection, version, 0, 900.0))
    measure("live_champions", Role.LIVE, lambda connection: champion_generations(connection, symbols))
    return found


def backup(home: ScaleHome) -> Figures:
    """Seconds of a backup, its CPU seconds, and its size in MB; the backup is removed."""
    used = home.run("backup", "create")
    folders = sorted((home.folder / "backups").glob("*/manifest.json"))
    size = sum(path.stat().st_size for path in folders[-1].parent.iterdir()) / 1e6
    for path in folders[-1].parent.iterdir():
        path.unlink()
    return {"backup_seconds": used.seconds, "backup_cpu_seconds": used.cpu_seconds, "backup_mb": size}


def audit(home: ScaleHome, database: Database) -> Figures:
    """An hourly audit: seconds, CPU seconds, rows that it stores, and sizes of its metrics and its page, kB."""
    before = _audit_rows(database)
    used = home.run("audit", "run")
    reports = {path.suffix: path for path in sorted((home.folder / "reports").glob("audit*")) if path.is_file()}
    sizes = {f"audit_{suffix[1:]}_kb": path.stat().st_size / 1e3 for suffix, path in reports.items()}
    rows = _audit_rows(database) - before
    return {"audit_seconds": used.seconds, "audit_cpu_seconds": used.cpu_seconds, "audit_rows": rows, **sizes}


def _audit_rows(database: Database) -> float:
    with database.connect("bench", None) as connection:
        return _value(connection, SQL["audit_figures"])


def published(database: Database, since: datetime) -> int:
    """Number of symbols of which a generation was published since a time (aware)."""
    with database.connect("bench", None) as connection:
        return int(connection.execute(SQL["published_since"], [since]).fetchall()[0][0])


def events(database: Database) -> Figures:
    """kB and rows of the events of the newest build, per symbol that it built, and of Dagster's whole database, MB."""
    with psycopg.connect(database.url_for("dagster")) as connection:
        return _figures(connection, SQL["events"])


def system(home: ScaleHome, database: Database, symbols: Sequence[str], seconds: float) -> Figures:
    """`strikecast up` for a while: durations of Dagster's ticks, CPU and memory of all processes, and of its pages."""
    log = (home.folder / "up.log").open("wb")
    began, started_at = time.monotonic(), time.time()
    up = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "up", "--port", "0"], env=home.environment, stdout=log, stderr=log
    )
    try:
        files = [probabilities_path(home.output, symbol) for symbol in symbols]
        wait_for(lambda: all(path.exists() and path.stat().st_mtime > started_at for path in files), 300)
        live_after = time.monotonic() - began
        time.sleep(20)
        root, cpu_began = psutil.Process(up.pid), time.monotonic()
        cpu = _cpu_seconds(root)
        time.sleep(seconds)
        share = 100 * (_cpu_seconds(root) - cpu) / (time.monotonic() - cpu_began)
        pss_mb = sum(process.memory_full_info().pss for process in process_tree(root)) / 1e6
        page = str(orjson.loads((home.folder / "up.json").read_bytes())["page_url"])
        found = {
            "up_live_after_seconds": live_after,
            "up_cpu_percent": share,
            "up_pss_mb": pss_mb,
            **_ticks(database, seconds),
        }
        for name in ("", "health", "api/symbols", "api/BTC"):
            durations = [_seconds(lambda name=name: _get(f"{page}/{name}")) for _ in range(10)]
            found[f"get_{name.replace('/', '_') or 'page'}_ms"] = 1000 * statistics.median(durations)
        found["status_seconds"] = home.run("status").seconds
        return found
    finally:
        up.terminate()
        up.wait()


def _ticks(database: Database, seconds: float) -> Figures:
    """Median and longest duration of each sensor's ticks, seconds."""
    durations: dict[str, list[float]] = {}
    with psycopg.connect(database.url_for("dagster")) as connection:
        rows = connection.execute(SQL["sensor_ticks"], [seconds]).fetchall()
    for (body,) in rows:
        tick = orjson.loads(body)
        name = re.sub(r"\W", "_", tick["job_name"])
        durations.setdefault(name, []).append(tick["end_timestamp"] - tick["timestamp"])
    return {
        f"tick_{name}_{kind}": value
        for name, sampled in durations.items()
        for kind, value in percentiles_ms(sampled).items()
        if kind in ("p50_ms", "max_ms")
    }


def _cpu_seconds(root: psutil.Process) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in process_tree(root))


def _get(url: str) -> None:
    try:
        with urlopen(url, timeout=30) as response:  # noqa: S310 (our own page)
            response.read()
    except OSError as error:
        if getattr(error, "code", None) != 503:  # of /health, which is not about speed
            raise


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _figures(connection: Connection, query: LiteralString) -> Figures:
    """The only row of a query, by column."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(query).fetchone()
    assert row is not None
    return {name: float(value) for name, value in row.items()}


def _value(connection: Connection, query: LiteralString) -> float:
    return float(read_value(connection, query))
