"""Tables and indexes: measurements and detections from the server's statistics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipelines.domain.monitoring.audit.history import Reading
from pipelines.domain.monitoring.audit.measurements import Detection, Measurements, Unit

#: Younger statistics do not show that an index is unused.
UNUSED_AFTER_SECONDS = 7 * 86_400.0
MIN_INDEX_BYTES = 2**20
#: Share and number of dead rows that need a vacuum.
DEAD_SHARE = 0.2
MIN_DEAD_ROWS = 10_000
#: More frequent sequential scans of a table this large need an index; backups, builds and nightly audits take a few a
#: day.
LARGE_ROWS = 100_000
SCANS_PER_HOUR = 1.0
MIN_SCANS = 20
#: Bloat, and its share of the table, from which a rewrite is worthwhile.
MIN_BLOAT_BYTES = 100 * 2**20
BLOAT_SHARE = 0.5
#: Shortest time between the two audits that growth and scans are computed from.
MIN_HOURS = 1.0
AHEAD_DAYS = 30


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

    @property
    def index_use_pct(self) -> float | None:
        """Index scans as a percentage of all scans; None of a table that was never read."""
        scans = self.index_scans + self.sequential_scans
        return 100.0 * self.index_scans / scans if scans else None


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
        found.add("table_index_use", Unit.PERCENT, facts.index_use_pct, table=facts.table)
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


def measure_growth(tables: Sequence[TableFacts], rows_before: Mapping[str, Reading], now: datetime) -> Measurements:
    """Growth of each table in bytes a day at its bytes per row, and the size of all of them in 30 days.

    `rows_before`: rows of each table in an earlier audit, which is ignored when it is less than an hour old.
    """
    found, total = Measurements(), 0.0
    for facts in tables:
        before = rows_before.get(facts.table, Reading(now, 0.0))
        hours = (now - before.at) / timedelta(hours=1)
        if hours >= MIN_HOURS and facts.rows > 0:
            bytes_per_day = (facts.rows - before.value) / hours * 24.0 * facts.total_bytes / facts.rows
            found.add("table_growth", Unit.BYTES_PER_DAY, bytes_per_day, table=facts.table)
            total += bytes_per_day
    if found.items:
        ahead = max(0.0, sum(facts.total_bytes for facts in tables) + AHEAD_DAYS * total)
        found.add("tables_size_ahead", Unit.BYTES, ahead, days=str(AHEAD_DAYS))
    else:
        found.add_gap("growth of tables", "there is no audit of an hour ago or more to compare with")
    return found


def detect_scans(
    tables: Sequence[TableFacts], scans_before: Mapping[str, Reading], read_before: Mapping[str, Reading], now: datetime
) -> list[Detection]:
    """Large tables with frequent sequential scans since an earlier audit of an hour ago or more.

    `scans_before`, `read_before`: sequential scans of each table, and rows that they had read, by then. Each partition
    counts as a scan of its own; partitions are assumed to be of equal size.
    """
    found = []
    for facts in tables:
        nothing = Reading(now, 0.0)
        before = scans_before.get(facts.table, nothing)
        hours, scans = (now - before.at) / timedelta(hours=1), facts.sequential_scans - before.value
        rows_read = facts.rows_read_sequentially - read_before.get(facts.table, nothing).value
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
