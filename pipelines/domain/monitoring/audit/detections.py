"""Tables, indexes, the server and execution plans: measurements and detections from the server's statistics."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from pipelines.domain.monitoring.audit.measurements import (
    Detection,
    Measurement,
    Measurements,
    Reading,
    Unit,
    formatted,
    key_of,
)

#: Younger statistics do not show that an index is unused.
UNUSED_AFTER_SECONDS = 7 * 86_400.0
MIN_INDEX_BYTES = 2**20
#: Share and number of dead rows that need a vacuum.
DEAD_SHARE = 0.2
MIN_DEAD_ROWS = 10_000
#: More frequent scans of a table this large need an index; backups, builds and nightly audits take a few a day.
LARGE_ROWS = 100_000
SCANS_PER_HOUR = 1.0
MIN_SCANS = 20
#: Bloat, and its share of the table, from which a rewrite is worthwhile.
MIN_BLOAT_BYTES = 100 * 2**20
BLOAT_SHARE = 0.5
#: Shortest time between the two audits that growth and scans are computed from.
MIN_HOURS = 1.0
AHEAD_DAYS = 30
CONNECTIONS_SHARE = 0.8
MIN_CACHE_HITS_PCT = 90.0
#: The hit rate of fewer blocks means nothing.
MIN_BLOCKS = 100_000
#: PostgreSQL refuses writes at about two thousand million; autovacuum freezes aggressively from two hundred million.
OLD_TRANSACTIONS = 1_000_000_000
CRITICAL_TRANSACTIONS = 1_800_000_000
#: Builds request some checkpoints; so many, and more than scheduled ones, mean a small max_wal_size.
MANY_REQUESTED_CHECKPOINTS = 50
MAX_LAG_SECONDS = 60.0
MAX_LAG_BYTES = 2.0**30
NUMBERS = re.compile(r"\d+")
#: A sequential scan that discards fewer rows is cheap.
MIN_ROWS = 1_000
#: Rows discarded for each row kept.
WASTEFUL_RATIO = 10


@dataclass(frozen=True)
class TableFacts:
    """A table with its partitions: sizes in bytes, rows by the statistics, scans and rows read since their reset.

    `partitions`: those with rows. `bloat_bytes`: an estimate, None without one.
    """

    table: str
    heap_bytes: int
    toast_bytes: int
    index_bytes: int
    rows: int
    dead_rows: int
    index_scans: int
    sequential_scans: int
    rows_read_sequentially: int
    partitions: int = 1
    bloat_bytes: int | None = None

    @property
    def total_bytes(self) -> int:
        """Heap, TOAST and indexes together."""
        return self.heap_bytes + self.toast_bytes + self.index_bytes


@dataclass(frozen=True)
class IndexFacts:
    """An index; `constrained`: it enforces a constraint; `covered_by`: another index that begins with its columns."""

    index: str
    table: str
    bytes: int
    scans: int
    constrained: bool
    covered_by: str | None


def measure_tables(tables: Sequence[TableFacts]) -> Measurements:
    """Sizes and rows of every table; tables with many dead rows or much bloat."""
    found = Measurements()
    for facts in tables:
        for part, size in (("rows", facts.heap_bytes), ("toast", facts.toast_bytes), ("indexes", facts.index_bytes)):
            found.add("table_size", Unit.BYTES, size, table=facts.table, part=part)
        for count in ("rows", "dead_rows", "sequential_scans", "rows_read_sequentially"):
            found.add(f"table_{count}", Unit.COUNT, getattr(facts, count), table=facts.table)
        if scans := facts.index_scans + facts.sequential_scans:
            found.add("table_index_use", Unit.PERCENT, 100.0 * facts.index_scans / scans, table=facts.table)
        found.add("table_bloat", Unit.BYTES, facts.bloat_bytes, table=facts.table)
        share = facts.dead_rows / max(1, facts.rows + facts.dead_rows)
        if facts.dead_rows >= MIN_DEAD_ROWS and share >= DEAD_SHARE:
            evidence = f"{facts.dead_rows:,} dead rows, {share:.0%} of all"
            found.detections.append(Detection("dead rows", facts.table, evidence))
        size, bloat = max(1, facts.heap_bytes), facts.bloat_bytes or 0
        if bloat >= max(MIN_BLOAT_BYTES, BLOAT_SHARE * size):
            evidence = f"about {bloat:,} of {size:,} bytes are unused"
            found.detections.append(Detection("bloat", facts.table, evidence))
    return found


def _counted(facts: TableFacts, count: str, before: Mapping[str, Reading], now: datetime) -> tuple[float, float]:
    """Difference of a count to the one in an earlier audit, and the hours since then; zero hours without one."""
    earlier = before.get(key_of(f"table_{count}", {"table": facts.table}), Reading(now, 0.0))
    return getattr(facts, count) - earlier.value, (now - earlier.at) / timedelta(hours=1)


def measure_growth(tables: Sequence[TableFacts], before: Mapping[str, Reading], now: datetime) -> Measurements:
    """Growth of each table in bytes a day at its bytes per row, and the size of all of them in 30 days.

    `before`: measurements of an earlier audit by key; one of less than an hour ago is ignored.
    """
    found, total = Measurements(), 0.0
    for facts in tables:
        rows, hours = _counted(facts, "rows", before, now)
        if hours >= MIN_HOURS and facts.rows > 0:
            bytes_per_day = rows / hours * 24.0 * facts.total_bytes / facts.rows
            found.add("table_growth", Unit.BYTES_PER_DAY, bytes_per_day, table=facts.table)
            total += bytes_per_day
    if found.items:
        ahead = max(0.0, sum(facts.total_bytes for facts in tables) + AHEAD_DAYS * total)
        found.add("tables_size_ahead", Unit.BYTES, ahead, days=str(AHEAD_DAYS))
    else:
        found.add_gap("growth of tables", "there is no audit of an hour ago or more to compare with")
    return found


def detect_scans(tables: Sequence[TableFacts], before: Mapping[str, Reading], now: datetime) -> list[Detection]:
    """Large tables with frequent sequential scans since an earlier audit of an hour ago or more.

    `before`: measurements of that audit by key. Each partition counts as a scan of its own; partitions are assumed to
    be of equal size.
    """
    found = []
    for facts in tables:
        scans, hours = _counted(facts, "sequential_scans", before, now)
        rows_read, _ = _counted(facts, "rows_read_sequentially", before, now)
        rows_each = facts.rows / max(1, facts.partitions)
        frequent = hours >= MIN_HOURS and scans >= max(MIN_SCANS, SCANS_PER_HOUR * hours)
        if frequent and rows_each >= LARGE_ROWS and rows_read >= scans * rows_each / 2:
            evidence = f"{scans:,.0f} times in {hours:,.0f} h, {facts.rows:,} rows"
            found.append(Detection("sequential scans", facts.table, evidence))
    return found


def detect_indexes(indexes: Sequence[IndexFacts], statistics_age_seconds: float) -> list[Detection]:
    """Indexes that another one replaces, and those without a scan in at least a week of statistics."""
    found = []
    for facts in (one for one in indexes if not one.constrained):
        labels = {"table": facts.table}
        if facts.covered_by is not None:
            evidence = f"{facts.covered_by} of {facts.table} begins with the same columns; {facts.bytes:,} bytes"
            found.append(Detection("redundant index", facts.index, evidence, labels))
        elif statistics_age_seconds >= UNUSED_AFTER_SECONDS and not facts.scans and facts.bytes >= MIN_INDEX_BYTES:
            evidence = f"no scan since the statistics began, {facts.bytes:,} bytes; each write updates it"
            found.append(Detection("unused index", facts.index, evidence, labels))
    return found


@dataclass(frozen=True)
class SettingsFacts:
    """Settings that have to fit the machine, and those that protect data; sizes in bytes."""

    shared_buffers_bytes: float
    effective_cache_size_bytes: float
    work_mem_bytes: float
    max_connections: int
    fsync: bool
    full_page_writes: bool
    autovacuum: bool
    track_counts: bool


@dataclass(frozen=True)
class ExtensionFacts:
    """pg_stat_statements: installed, loaded by the server, and the schema of its view in this database."""

    available: bool
    loaded: bool
    schema: str | None


def detect_server(values: Mapping[str, float]) -> list[Detection]:
    """Problems of the server as a whole; `values` by key of its measurements, of which some may be missing."""
    found: dict[str, str] = {}
    age = max(values.get("oldest_transaction_age", 0.0), values.get("oldest_multixact_age", 0.0))
    if age >= OLD_TRANSACTIONS:
        kind = "transaction ID wraparound" if age >= CRITICAL_TRANSACTIONS else "transaction age"
        found[kind] = f"the oldest is {age / 1e6:,.0f} million old; writes stop at 2,000 million"
    connections, allowed = values.get("connections", 0.0), values["connections_allowed"]
    if connections >= CONNECTIONS_SHARE * allowed:
        found["connections"] = f"{connections:.0f} of {allowed:.0f} are in use"
    blocks, hits = values.get("blocks_requested", 0.0), values.get("cache_hits", 100.0)
    if blocks >= MIN_BLOCKS and hits < MIN_CACHE_HITS_PCT:
        found["cache"] = f"{hits:.1f} % of {blocks:,.0f} blocks were found in it"
    timed, requested = (values.get(f"checkpoints {{why={why}}}", 0.0) for why in ("their time", "early"))
    if requested >= MANY_REQUESTED_CHECKPOINTS and requested > timed:
        found["early checkpoints"] = f"{requested:,.0f} checkpoints were requested, {timed:,.0f} scheduled"
    return [Detection(kind, "", evidence) for kind, evidence in found.items()]


def detect_lag(measurements: Sequence[Measurement]) -> list[Detection]:
    """Standbys that are far behind, from the measurements of their lag."""
    lags: dict[str, dict[str, float]] = {}
    for one in measurements:
        lags.setdefault(one.labels["standby"], {})[one.name] = one.value
    found = []
    for standby, lag in lags.items():
        size, seconds = lag.get("replication_lag_size", 0.0), lag.get("replication_lag", 0.0)
        if seconds >= MAX_LAG_SECONDS or size >= MAX_LAG_BYTES:
            evidence = formatted(size, Unit.BYTES) + (f", {seconds:,.0f} s" if seconds else "")
            found.append(Detection("replication lag", standby, evidence))
    return found


def detect_settings(facts: SettingsFacts, database_bytes: float, memory_bytes: float | None) -> list[Detection]:
    """Settings that risk data, and those that do not fit the machine; `memory_bytes` None: the server is elsewhere."""
    found: dict[str, str] = {}
    if not facts.fsync:
        found["setting fsync"] = "fsync is off"
    if not facts.full_page_writes:
        found["setting full_page_writes"] = "full_page_writes is off"
    if not (facts.autovacuum and facts.track_counts):
        found["setting autovacuum"] = "autovacuum or track_counts is off"
    if memory_bytes is not None:
        shared, cache, work = facts.shared_buffers_bytes, facts.effective_cache_size_bytes, facts.work_mem_bytes
        sizes = (shared, cache, work, database_bytes, memory_bytes)
        shared_text, cache_text, work_text, database, memory = (formatted(size, Unit.BYTES) for size in sizes)
        if shared < min(memory_bytes, database_bytes) / 8:
            found["small shared_buffers"] = f"shared_buffers is {shared_text}, the database {database}, memory {memory}"
        if shared > memory_bytes / 2:
            found["large shared_buffers"] = f"shared_buffers is {shared_text} of {memory}"
        if cache > memory_bytes:
            found["setting effective_cache_size"] = f"effective_cache_size is {cache_text} of {memory}"
        if work * facts.max_connections > memory_bytes:
            connections = f"each of {facts.max_connections} connections"
            found["setting work_mem"] = f"work_mem {work_text} for {connections}, of {memory}"
    return [Detection(kind, "", evidence) for kind, evidence in found.items()]


def detect_extension(extension: ExtensionFacts) -> list[Detection]:
    """A server that has pg_stat_statements installed and does not use it."""
    if not extension.available or (extension.loaded and extension.schema is not None):
        return []
    kind = "extension not created" if extension.loaded else "extension not loaded"
    return [Detection(kind, "pg_stat_statements", "it is installed, but not in use in this database")]


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A plan's nodes, outermost first."""
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


def shape(plan: Mapping[str, Any]) -> str:
    """Node types and the relations or indexes that they read: `Limit > Index Scan on price_log_pkey`.

    The same node on several partitions is shown once: `Index Scan on price_log_*_pkey (10)`.
    """
    names = []
    for node in nodes(plan):
        relation = node.get("Index Name") or node.get("Relation Name")
        names.append(node["Node Type"] + (f" on {relation}" if relation else ""))
    parts = []
    for pattern, group in groupby(names, lambda name: NUMBERS.sub("*", name)):
        same = list(group)
        parts.append(same[0] if len(same) == 1 else f"{pattern} ({len(same)})")
    return " > ".join(parts)


def sequential_scans(plan: Mapping[str, Any]) -> list[str]:
    """Relations of sequential scans that discard far more rows than they keep.

    Reading most of a table, or a table of a few blocks, is best done by a sequential scan.
    """
    found = []
    for node in nodes(plan):
        loops = float(node.get("Actual Loops", 1))
        kept = loops * float(node.get("Actual Rows", 0))
        discarded = loops * float(node.get("Rows Removed by Filter", 0))
        if node["Node Type"] == "Seq Scan" and discarded >= max(MIN_ROWS, WASTEFUL_RATIO * kept):
            found.append(node["Relation Name"])
    return found
