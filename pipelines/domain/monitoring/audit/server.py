"""What an audit says of the server as a whole: its work, its settings, who follows it. Facts in, figures and findings
out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pipelines.domain.monitoring.audit.findings import Finding
from pipelines.domain.monitoring.audit.measurements import Figure, Gap, Measured, Unit, one
from pipelines.domain.monitoring.audit.targets import Area, Severity

CONNECTIONS_SHARE = 0.8
LEAST_CACHE_HITS = 0.9
#: Blocks read before a share of hits means anything.
LEAST_BLOCKS = 100_000
#: PostgreSQL stops accepting writes at two thousand million; autovacuum freezes by force at two hundred.
OLD_TRANSACTIONS = 1_000_000_000
ANCIENT_TRANSACTIONS = 1_800_000_000
#: A build makes the server write early now and then; more often than by its clock, and as often as this, is a habit.
MANY_EARLY_CHECKPOINTS = 50
FAR_BEHIND_SECONDS = 60.0
FAR_BEHIND_BYTES = 2.0**30


@dataclass(frozen=True)
class ServerFacts:
    """The server as a whole; counts since `statistics_since` (aware UTC, None: never reset), ages in transactions.

    `hidden`: connections whose work this role may not see; `connections` and `longest_transaction_seconds`, of clients
    other than the audit, are None where there are some.
    """

    blocks_hit: float
    blocks_read: float
    connections: float | None
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


@dataclass(frozen=True)
class CheckpointFacts:
    """How often the server wrote all that was changed, by its clock and early."""

    timed: float
    requested: float


@dataclass(frozen=True)
class StandbyFacts:
    """Who follows the server, and how far behind; None where that is not known."""

    name: str
    lag_bytes: float | None
    lag_seconds: float | None


@dataclass(frozen=True)
class SettingsFacts:
    """Settings that a machine can be too small or too large for, and those that keep data safe; sizes in bytes."""

    shared_buffers_bytes: float
    effective_cache_size_bytes: float
    work_mem_bytes: float
    max_connections: int
    fsync: bool
    full_page_writes: bool
    autovacuum: bool
    track_counts: bool


@dataclass(frozen=True)
class StatementFacts:
    """A statement that took much of the server's time since that was counted from; `share_pct` of all of it."""

    statement: str
    calls: float
    mean_ms: float
    share_pct: float


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


def checkpoint_figures(facts: CheckpointFacts) -> tuple[Figure, ...]:
    """How often."""
    return (
        one("checkpoints", Unit.COUNT, facts.timed, why="their time"),
        one("checkpoints", Unit.COUNT, facts.requested, why="early"),
    )


def standbys_measured(standbys: Sequence[StandbyFacts]) -> Measured:
    """How far behind each is."""
    if not standbys:
        return Measured((), (Gap("replication lag", "nobody follows this server"),))
    figures, gaps = [], []
    for facts in standbys:
        if facts.lag_bytes is None:
            gaps.append(Gap(f"replication lag of {facts.name}", "insufficient privilege, or not known yet"))
        else:
            figures.append(one("replication_lag_size", Unit.BYTES, facts.lag_bytes, standby=facts.name))
        if facts.lag_seconds is not None:
            figures.append(one("replication_lag", Unit.SECONDS, facts.lag_seconds, standby=facts.name))
    return Measured(tuple(figures), tuple(gaps))


def statement_figures(statements: Sequence[StatementFacts]) -> tuple[Figure, ...]:
    """The server's own count of what took its time."""
    return tuple(
        figure
        for facts in statements
        for figure in (
            one("statement_share", Unit.PERCENT, facts.share_pct, statement=facts.statement),
            one("statement_mean", Unit.MILLISECONDS, facts.mean_ms, statement=facts.statement),
            one("statement_calls", Unit.COUNT, facts.calls, statement=facts.statement),
        )
    )


def server_findings(facts: ServerFacts) -> list[Finding]:
    """What is wrong with the server as a whole."""
    looked_up = facts.blocks_hit + facts.blocks_read
    age = max(facts.xid_age, facts.multixact_age)
    connections = facts.connections or 0.0
    cases = (
        (
            age >= OLD_TRANSACTIONS,
            Finding(
                "transaction age",
                Severity.P0 if age >= ANCIENT_TRANSACTIONS else Severity.P1,
                Area.DATABASE,
                "transaction numbers run out",
                f"the oldest is {age / 1e6:,.0f} million old; writing ends at 2,000 million",
                "vacuum does not freeze, since something holds it back",
                "freeze the oldest tables",
                command="strikecast vacuum --urgent",
            ),
        ),
        (
            connections >= CONNECTIONS_SHARE * facts.connections_allowed,
            Finding(
                "connections",
                Severity.P1,
                Area.DATABASE,
                "connections run out",
                f"{connections:.0f} of {facts.connections_allowed:.0f} are taken",
                "a client that opens without closing",
                "find out who has them",
                command='strikecast psql --role pg_monitor -c "SELECT application_name, count(*) FROM pg_stat_activity '
                'GROUP BY 1"',
            ),
        ),
        (
            looked_up >= LEAST_BLOCKS and facts.blocks_hit < LEAST_CACHE_HITS * looked_up,
            Finding(
                "cache",
                Severity.P3,
                Area.DATABASE,
                "the server's cache is small for its work",
                f"{facts.blocks_hit / max(1.0, looked_up):.1%} of {looked_up:,.0f} blocks were in it",
                "builds and backups read everything once; beyond that shared_buffers is too small",
                "raise shared_buffers to a quarter of memory",
                command='strikecast psql -c "SHOW shared_buffers"',
            ),
        ),
    )
    return [finding for holds, finding in cases if holds]


def checkpoint_findings(facts: CheckpointFacts) -> list[Finding]:
    """A server that writes early out of habit."""
    if facts.requested < MANY_EARLY_CHECKPOINTS or facts.requested <= facts.timed:
        return []
    return [
        Finding(
            "early checkpoints",
            Severity.P3,
            Area.DATABASE,
            "the server writes all that was changed earlier than it would",
            f"{facts.requested:,.0f} checkpoints came early, {facts.timed:,.0f} at their time",
            "max_wal_size is small for what is written",
            "raise max_wal_size",
            command='strikecast psql -c "SHOW max_wal_size"',
        )
    ]


def standby_findings(standbys: Sequence[StandbyFacts]) -> list[Finding]:
    """Who is far behind."""
    found = []
    for facts in standbys:
        size, seconds = facts.lag_bytes or 0.0, facts.lag_seconds or 0.0
        if seconds >= FAR_BEHIND_SECONDS or size >= FAR_BEHIND_BYTES:
            found.append(
                Finding(
                    f"replication lag {facts.name}",
                    Severity.P2,
                    Area.DATABASE,
                    f"standby {facts.name} is far behind",
                    f"{size / 2**20:,.0f} MiB" + (f", {seconds:,.0f} s" if seconds else ""),
                    "its disk or its line is slow, or a query on it holds up what is to be replayed",
                    "look at its log",
                    "hours",
                    'strikecast psql --role pg_monitor -c "SELECT * FROM pg_stat_replication"',
                )
            )
    return found


def settings_findings(facts: SettingsFacts, database_bytes: float, memory_bytes: float | None) -> list[Finding]:
    """Settings that risk data, and those that do not fit the machine; `memory_bytes` None: it is another machine's."""

    def finding(key: str, severity: Severity, title: str, evidence: str, cause: str, remedy: str) -> Finding:
        show = f'strikecast psql -c "SHOW {key}"'
        return Finding(f"setting {key}", severity, Area.DATABASE, title, evidence, cause, remedy, command=show)

    def told(size: float) -> str:
        return f"{size / 2**20:,.0f} MiB"

    small, large = "initdb's default, or that of a smaller machine", "that of a larger machine"
    cases = [
        (
            not facts.fsync,
            finding(
                "fsync",
                Severity.P0,
                "a power cut would break the database",
                "fsync is off",
                "it was set so for a bulk load",
                "set fsync = on, and reload",
            ),
        ),
        (
            not facts.full_page_writes,
            finding(
                "full_page_writes",
                Severity.P1,
                "a power cut may break pages",
                "full_page_writes is off",
                "a file system was trusted to write pages whole",
                "set full_page_writes = on, and reload",
            ),
        ),
        (
            not (facts.autovacuum and facts.track_counts),
            finding(
                "autovacuum",
                Severity.P1,
                "nobody clears dead rows away",
                "autovacuum or track_counts is off",
                "it was turned off for a bulk load",
                "set both to on, and reload",
            ),
        ),
    ]
    if memory_bytes is not None:
        wanted = min(memory_bytes, database_bytes) / 8
        cases += [
            (
                facts.shared_buffers_bytes < wanted,
                finding(
                    "shared_buffers",
                    Severity.P3,
                    "the server's cache is small",
                    f"shared_buffers is {told(facts.shared_buffers_bytes)}, the database {told(database_bytes)}, "
                    f"memory {told(memory_bytes)}",
                    small,
                    "raise it to a quarter of memory, or to the database's size",
                ),
            ),
            (
                facts.shared_buffers_bytes > memory_bytes / 2,
                finding(
                    "shared_buffers",
                    Severity.P2,
                    "the server's cache leaves no memory to others",
                    f"shared_buffers is {told(facts.shared_buffers_bytes)} of {told(memory_bytes)}",
                    large,
                    "lower it to a quarter of memory",
                ),
            ),
            (
                facts.effective_cache_size_bytes > memory_bytes,
                finding(
                    "effective_cache_size",
                    Severity.P3,
                    "the planner believes in more memory than there is",
                    f"effective_cache_size is {told(facts.effective_cache_size_bytes)} of {told(memory_bytes)}",
                    large,
                    "lower it to three quarters of memory",
                ),
            ),
            (
                facts.work_mem_bytes * facts.max_connections > memory_bytes,
                finding(
                    "work_mem",
                    Severity.P3,
                    "sorting could take more memory than there is",
                    f"work_mem {told(facts.work_mem_bytes)} for each of {facts.max_connections} connections, of "
                    f"{told(memory_bytes)}",
                    large,
                    "lower work_mem, or max_connections",
                ),
            ),
        ]
    return [found for holds, found in cases if holds]


def extension_findings(*, available: bool, loaded: bool, created: bool) -> list[Finding]:
    """A server that could count statements, but does not."""
    if not available or (loaded and created):
        return []
    missing = "is loaded, but this database has no view of it" if loaded else "is installed, but not loaded"
    remedy = "create it in this database" if loaded else "add it to shared_preload_libraries, restart, then create it"
    return [
        Finding(
            "pg_stat_statements",
            Severity.P3,
            Area.DATABASE,
            "the server does not count its statements",
            f"pg_stat_statements {missing}",
            "it is not there by itself",
            remedy,
            command='psql -c "CREATE EXTENSION pg_stat_statements"' if loaded else "",
        )
    ]
