"""What an audit says of tables and indexes, from what the server's statistics tell. Facts in, figures and findings
out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipelines.domain.monitoring.audit.findings import Finding
from pipelines.domain.monitoring.audit.history import Reading
from pipelines.domain.monitoring.audit.measurements import Figure, Unit, one
from pipelines.domain.monitoring.audit.server import ServerFacts
from pipelines.domain.monitoring.audit.targets import Area, Severity

#: Statistics younger than this do not know what nobody ever needs.
UNUSED_AFTER = timedelta(days=7)
#: Dead rows, of all, and how many at least.
DEAD_SHARE = 0.2
LEAST_DEAD_ROWS = 10_000
#: A table this large should not be read from end to end more often than each hour, and so many times at least. Backups,
#: builds and nightly audits do so a few times a day.
LARGE_ROWS = 100_000
SCANS_PER_HOUR = 1.0
LEAST_SCANS = 20
LEAST_INDEX_BYTES = 2**20
#: A table that takes this much more than its rows need, and this share of it, is worth rewriting.
LEAST_BLOAT_BYTES = 100 * 2**20
BLOAT_SHARE = 0.5
#: Between two audits, before a table's growth can be told.
LEAST_GROWTH_SECONDS = 3_600.0
AHEAD_DAYS = 30


@dataclass(frozen=True)
class TableFacts:
    """A table with its partitions: sizes in bytes, rows as the statistics count them; reads by an index and from end to
    end, and the rows that the latter read, since the statistics were reset.

    `partitions`: those with rows. `bloat_bytes`: what its rows would not need, by an estimate; None without one.
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
        """The three parts together; none is counted twice."""
        return self.heap_bytes + self.toast_bytes + self.index_bytes


@dataclass(frozen=True)
class IndexFacts:
    """An index; `constrained`: it keeps a constraint; `covered_by`: another that answers all that this one can."""

    index: str
    table: str
    bytes: int
    scans: int
    constrained: bool
    covered_by: str | None


def table_figures(tables: Sequence[TableFacts]) -> tuple[Figure, ...]:
    """Sizes by part and rows of every table."""
    return tuple(
        figure
        for facts in tables
        for figure in (
            one("table_size", Unit.BYTES, facts.heap_bytes, table=facts.table, part="rows"),
            one("table_size", Unit.BYTES, facts.toast_bytes, table=facts.table, part="toast"),
            one("table_size", Unit.BYTES, facts.index_bytes, table=facts.table, part="indexes"),
            one("table_rows", Unit.COUNT, facts.rows, table=facts.table),
            one("table_dead_rows", Unit.COUNT, facts.dead_rows, table=facts.table),
            one("table_sequential_scans", Unit.COUNT, facts.sequential_scans, table=facts.table),
            one("table_rows_read_sequentially", Unit.COUNT, facts.rows_read_sequentially, table=facts.table),
            *_index_use(facts),
            *(
                ()
                if facts.bloat_bytes is None
                else (one("table_bloat", Unit.BYTES, facts.bloat_bytes, table=facts.table),)
            ),
        )
    )


def _index_use(facts: TableFacts) -> tuple[Figure, ...]:
    """Share of all reads that went through an index, of a table that was read at all."""
    scans = facts.index_scans + facts.sequential_scans
    return (
        (one("table_index_use", Unit.PERCENT, 100.0 * facts.index_scans / scans, table=facts.table),) if scans else ()
    )


def growth_figures(
    tables: Sequence[TableFacts], rows_before: Mapping[str, Reading], now: datetime
) -> tuple[Figure, ...]:
    """Bytes a day that each table grows by, and all of them in 30 days, at its own bytes per row.

    `rows_before`: rows of each table that an earlier audit knew; one that is younger than an hour says nothing.
    """
    found = []
    for facts in tables:
        before = rows_before.get(facts.table, Reading(now, 0.0))
        seconds = (now - before.at).total_seconds()
        if seconds >= LEAST_GROWTH_SECONDS and facts.rows > 0:
            bytes_a_day = (facts.rows - before.value) / seconds * 86_400 * facts.total_bytes / facts.rows
            found.append(one("table_growth", Unit.BYTES_PER_DAY, bytes_a_day, table=facts.table))
    if not found:
        return ()
    ahead = AHEAD_DAYS * sum(figure.value for figure in found)
    in_future = max(0.0, sum(facts.total_bytes for facts in tables) + ahead)
    return (*found, one("tables_size_ahead", Unit.BYTES, in_future, days=str(AHEAD_DAYS)))


def table_findings(tables: Sequence[TableFacts]) -> list[Finding]:
    """Tables full of dead rows, or of air."""
    found = []
    for facts in tables:
        share = facts.dead_rows / max(1, facts.rows + facts.dead_rows)
        if facts.dead_rows >= LEAST_DEAD_ROWS and share >= DEAD_SHARE:
            found.append(
                Finding(
                    f"dead rows {facts.table}",
                    Severity.P2,
                    Area.DATABASE,
                    f"{facts.table} is full of dead rows",
                    f"{facts.dead_rows:,} dead rows, {share:.0%} of it",
                    "autovacuum has not come to it, or an old transaction keeps them alive",
                    "vacuum it; see what holds dead rows back",
                    command="strikecast vacuum --urgent",
                )
            )
        size = max(1, facts.heap_bytes)
        if (facts.bloat_bytes or 0) >= max(LEAST_BLOAT_BYTES, BLOAT_SHARE * size):
            found.append(
                Finding(
                    f"bloat {facts.table}",
                    Severity.P3,
                    Area.DATABASE,
                    f"{facts.table} takes far more than its rows",
                    f"about {facts.bloat_bytes or 0:,} of {size:,} bytes are air",
                    "many rows went, or were changed, at once; new rows fill the room first",
                    "if it does not fill up again, rewrite it with VACUUM FULL while nobody needs it",
                    "hours",
                    f'strikecast psql -c "\\dt+ {facts.table}"',
                )
            )
    return found


def scan_findings(
    tables: Sequence[TableFacts], scans_before: Mapping[str, Reading], read_before: Mapping[str, Reading], now: datetime
) -> list[Finding]:
    """Large tables that are read from end to end time and again, since an earlier audit of an hour ago or more.

    `scans_before`, `read_before`: how often each was, and how many rows that read, by then. Of a table with partitions,
    one partition from end to end counts; they are taken for equally large.
    """
    found = []
    for facts in tables:
        before, nothing = scans_before.get(facts.table, Reading(now, 0.0)), Reading(now, 0.0)
        hours, scans = (now - before.at).total_seconds() / 3_600, facts.sequential_scans - before.value
        rows_read = facts.rows_read_sequentially - read_before.get(facts.table, nothing).value
        of_one = facts.rows / max(1, facts.partitions)
        often = hours >= 1.0 and scans >= max(LEAST_SCANS, SCANS_PER_HOUR * hours)
        if often and of_one >= LARGE_ROWS and rows_read >= scans * of_one / 2:
            found.append(
                Finding(
                    f"sequential scans {facts.table}",
                    Severity.P3,
                    Area.DATABASE,
                    f"{facts.table} is read from end to end, time and again",
                    f"{scans:,.0f} times in {hours:,.0f} h, {facts.rows:,} rows",
                    "a query without an index does so each time",
                    "find the query, and give it an index",
                    "hours",
                    f'strikecast psql -c "\\d+ {facts.table}"',
                )
            )
    return found


def index_findings(indexes: Sequence[IndexFacts], server: ServerFacts, now: datetime) -> list[Finding]:
    """Indexes that another one replaces, and those that nobody used since the statistics began, at least a week ago."""
    found = []
    counted_since = server.statistics_since
    old_enough = server.uptime_seconds >= UNUSED_AFTER.total_seconds() and (
        counted_since is None or now - counted_since >= UNUSED_AFTER
    )
    for facts in indexes:
        if facts.covered_by is not None and not facts.constrained:
            found.append(
                Finding(
                    f"redundant index {facts.index}",
                    Severity.P3,
                    Area.DATABASE,
                    f"{facts.index} is redundant",
                    f"{facts.covered_by} of {facts.table} begins with the same columns; {facts.bytes:,} bytes",
                    "two indexes were made for one question",
                    "remove it by a migration",
                    "hours",
                    f'strikecast psql -c "\\d {facts.table}"',
                )
            )
        elif old_enough and not facts.scans and not facts.constrained and facts.bytes >= LEAST_INDEX_BYTES:
            found.append(
                Finding(
                    f"unused index {facts.index}",
                    Severity.P3,
                    Area.DATABASE,
                    f"{facts.index} is not used",
                    f"no scan since the statistics began, {facts.bytes:,} bytes; each write renews it",
                    "the question that it was made for is no longer asked, or not often, or it is new",
                    "look whether a rare job needs it, then drop it in a migration",
                    "hours",
                    f'strikecast psql -c "\\d {facts.table}"',
                )
            )
    return found
