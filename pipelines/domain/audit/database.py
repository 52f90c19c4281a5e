"""What an audit says of the database, from what the server's statistics tell. Facts in, figures and findings out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipelines.domain.audit.figures import Figure, Unit, one
from pipelines.domain.audit.findings import Finding
from pipelines.domain.audit.slo import Area, Severity

#: Statistics younger than this do not know what nobody ever needs.
UNUSED_AFTER = timedelta(days=7)
#: Dead rows, of all, and how many at least.
DEAD_SHARE = 0.2
LEAST_DEAD_ROWS = 10_000
#: A table this large should not be read from end to end time and again.
LARGE_ROWS = 100_000
LEAST_INDEX_BYTES = 2**20
CONNECTIONS_SHARE = 0.8
LEAST_CACHE_HITS = 0.9
#: Blocks read before a share of hits means anything.
LEAST_BLOCKS = 100_000
LONG_TRANSACTION_SECONDS = 600.0
#: PostgreSQL stops accepting writes at two thousand million; autovacuum freezes by force at two hundred.
OLD_TRANSACTIONS = 1_000_000_000
ANCIENT_TRANSACTIONS = 1_800_000_000


@dataclass(frozen=True)
class TableFacts:
    """A table with its partitions: sizes in bytes, rows as the statistics count them, scans since they were reset."""

    table: str
    heap_bytes: int
    toast_bytes: int
    index_bytes: int
    rows: int
    dead_rows: int
    sequential_scans: int
    rows_read_sequentially: int

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


@dataclass(frozen=True)
class ServerFacts:
    """The server as a whole; counts since `statistics_since` (aware UTC, None: never reset), ages in transactions.

    `hidden`: connections whose work this role may not see. `longest_transaction_seconds` is None where some are.
    """

    blocks_hit: float
    blocks_read: float
    connections: float
    connections_allowed: float
    longest_transaction_seconds: float | None
    hidden: int
    locks_waited_for: float
    xid_age: float
    multixact_age: float
    deadlocks: float
    temporary_bytes: float
    uptime_seconds: float
    statistics_since: datetime | None
    database_bytes: float


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
        )
    )


def server_figures(facts: ServerFacts) -> tuple[Figure, ...]:
    """Figures of the server as a whole; what has no value is left out."""
    looked_up = facts.blocks_hit + facts.blocks_read
    known = (
        ("database_size", Unit.BYTES, facts.database_bytes),
        ("cache_hits", Unit.PERCENT, 100.0 * facts.blocks_hit / looked_up if looked_up else None),
        ("connections", Unit.COUNT, facts.connections),
        ("connections_allowed", Unit.COUNT, facts.connections_allowed),
        ("longest_transaction", Unit.SECONDS, facts.longest_transaction_seconds),
        ("locks_waited_for", Unit.COUNT, facts.locks_waited_for),
        ("oldest_transaction_age", Unit.COUNT, facts.xid_age),
        ("oldest_multixact_age", Unit.COUNT, facts.multixact_age),
        ("deadlocks", Unit.COUNT, facts.deadlocks),
        ("temporary_files", Unit.BYTES, facts.temporary_bytes),
        ("server_uptime", Unit.SECONDS, facts.uptime_seconds),
    )
    return tuple(one(name, unit, value) for name, unit, value in known if value is not None)


def table_findings(tables: Sequence[TableFacts]) -> list[Finding]:
    """Tables full of dead rows, and large ones that are read from end to end."""
    found = []
    for facts in tables:
        share = facts.dead_rows / max(1, facts.rows + facts.dead_rows)
        if facts.dead_rows >= LEAST_DEAD_ROWS and share >= DEAD_SHARE:
            found.append(
                Finding(
                    f"dead rows {facts.table}", Severity.P2, Area.DATABASE, f"{facts.table} is full of dead rows",
                    f"{facts.dead_rows:,} dead rows, {share:.0%} of it",
                    "autovacuum has not come to it, or an old transaction keeps them alive",
                    "vacuum it; see what holds dead rows back", command="strikecast vacuum --urgent",
                )
            )  # fmt: skip
        per_scan = facts.rows_read_sequentially / max(1, facts.sequential_scans)
        if facts.rows >= LARGE_ROWS and facts.sequential_scans > 1 and per_scan >= facts.rows / 2:
            found.append(
                Finding(
                    f"sequential scans {facts.table}", Severity.P3, Area.DATABASE,
                    f"{facts.table} is read from end to end",
                    f"{facts.sequential_scans:,} scans of {per_scan:,.0f} rows each",
                    "backups and builds do so once in a while; a query without an index does so each time",
                    "find the query, and give it an index if it runs often", "hours", 'strikecast psql -c "\\d+ '
                    f'{facts.table}"',
                )
            )  # fmt: skip
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
                    f"redundant index {facts.index}", Severity.P3, Area.DATABASE, f"{facts.index} is redundant",
                    f"{facts.covered_by} of {facts.table} begins with the same columns; {facts.bytes:,} bytes",
                    "two indexes were made for one question", "remove it by a migration", "hours",
                    f'strikecast psql -c "\\d {facts.table}"',
                )
            )  # fmt: skip
        elif old_enough and not facts.scans and not facts.constrained and facts.bytes >= LEAST_INDEX_BYTES:
            found.append(
                Finding(
                    f"unused index {facts.index}", Severity.P3, Area.DATABASE, f"{facts.index} is not used",
                    f"no scan since the statistics began, {facts.bytes:,} bytes; each write renews it",
                    "the question that it was made for is no longer asked, or not often",
                    "look whether a rare job needs it, then drop it in a migration", "hours",
                    f'strikecast psql -c "\\d {facts.table}"',
                )
            )  # fmt: skip
    return found


def server_findings(facts: ServerFacts) -> list[Finding]:
    """What is wrong with the server as a whole."""
    looked_up = facts.blocks_hit + facts.blocks_read
    age = max(facts.xid_age, facts.multixact_age)
    longest = facts.longest_transaction_seconds or 0.0
    cases = (
        (
            age >= OLD_TRANSACTIONS,
            Finding(
                "transaction age", Severity.P0 if age >= ANCIENT_TRANSACTIONS else Severity.P1, Area.DATABASE,
                "transaction numbers run out",
                f"the oldest is {age / 1e6:,.0f} million old; writing ends at 2,000 million",
                "vacuum does not freeze, since something holds it back", "freeze the oldest tables",
                command="strikecast vacuum --urgent",
            ),
        ),
        (
            longest >= LONG_TRANSACTION_SECONDS,
            Finding(
                "long transaction", Severity.P2, Area.DATABASE, "a transaction has been open for long",
                f"{longest:,.0f} s; no dead row of since then can go",
                "a client that forgot to commit, or a backup", "find out who, and end it",
                command='strikecast psql -c "SELECT pid, application_name, xact_start FROM pg_stat_activity '
                'ORDER BY xact_start LIMIT 3"',
            ),
        ),
        (
            facts.connections >= CONNECTIONS_SHARE * facts.connections_allowed,
            Finding(
                "connections", Severity.P1, Area.DATABASE, "connections run out",
                f"{facts.connections:.0f} of {facts.connections_allowed:.0f} are taken",
                "a client that opens without closing", "find out who has them",
                command='strikecast psql -c "SELECT application_name, count(*) FROM pg_stat_activity GROUP BY 1"',
            ),
        ),
        (
            looked_up >= LEAST_BLOCKS and facts.blocks_hit < LEAST_CACHE_HITS * looked_up,
            Finding(
                "cache", Severity.P3, Area.DATABASE, "the server's cache is small for its work",
                f"{facts.blocks_hit / max(1.0, looked_up):.1%} of {looked_up:,.0f} blocks were in it",
                "builds and backups read everything once; beyond that shared_buffers is too small",
                "raise shared_buffers to a quarter of memory",
                command='strikecast psql -c "SHOW shared_buffers"',
            ),
        ),
    )  # fmt: skip
    return [finding for holds, finding in cases if holds]
