"""The server as a whole: detections from its measurements and settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.domain.monitoring.audit.measurements import Detection, Measurement, Unit, formatted

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
    found = []
    age = max(values.get("oldest_transaction_age", 0.0), values.get("oldest_multixact_age", 0.0))
    if age >= OLD_TRANSACTIONS:
        kind = "transaction ID wraparound" if age >= CRITICAL_TRANSACTIONS else "transaction age"
        evidence = f"the oldest is {age / 1e6:,.0f} million old; writes stop at 2,000 million"
        found.append(Detection(kind, "", evidence))
    connections, allowed = values.get("connections", 0.0), values["connections_allowed"]
    if connections >= CONNECTIONS_SHARE * allowed:
        found.append(Detection("connections", "", f"{connections:.0f} of {allowed:.0f} are in use"))
    blocks, hits = values.get("blocks_requested", 0.0), values.get("cache_hits", 100.0)
    if blocks >= MIN_BLOCKS and hits < MIN_CACHE_HITS_PCT:
        found.append(Detection("cache", "", f"{hits:.1f} % of {blocks:,.0f} blocks were found in it"))
    timed, requested = (values.get(f"checkpoints {{why={why}}}", 0.0) for why in ("their time", "early"))
    if requested >= MANY_REQUESTED_CHECKPOINTS and requested > timed:
        evidence = f"{requested:,.0f} checkpoints were requested, {timed:,.0f} scheduled"
        found.append(Detection("early checkpoints", "", evidence))
    return found


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
    found = []
    if not facts.fsync:
        found.append(Detection("setting fsync", "", "fsync is off"))
    if not facts.full_page_writes:
        found.append(Detection("setting full_page_writes", "", "full_page_writes is off"))
    if not (facts.autovacuum and facts.track_counts):
        found.append(Detection("setting autovacuum", "", "autovacuum or track_counts is off"))
    if memory_bytes is None:
        return found
    shared, cache, work, database, memory = (
        formatted(size, Unit.BYTES)
        for size in (
            facts.shared_buffers_bytes,
            facts.effective_cache_size_bytes,
            facts.work_mem_bytes,
            database_bytes,
            memory_bytes,
        )
    )
    if facts.shared_buffers_bytes < min(memory_bytes, database_bytes) / 8:
        evidence = f"shared_buffers is {shared}, the database {database}, memory {memory}"
        found.append(Detection("small shared_buffers", "", evidence))
    if facts.shared_buffers_bytes > memory_bytes / 2:
        found.append(Detection("large shared_buffers", "", f"shared_buffers is {shared} of {memory}"))
    if facts.effective_cache_size_bytes > memory_bytes:
        evidence = f"effective_cache_size is {cache} of {memory}"
        found.append(Detection("setting effective_cache_size", "", evidence))
    if facts.work_mem_bytes * facts.max_connections > memory_bytes:
        evidence = f"work_mem {work} for each of {facts.max_connections} connections, of {memory}"
        found.append(Detection("setting work_mem", "", evidence))
    return found


def detect_extension(extension: ExtensionFacts) -> list[Detection]:
    """A server that has pg_stat_statements installed and does not use it."""
    if not extension.available or (extension.loaded and extension.schema is not None):
        return []
    kind = "extension not created" if extension.loaded else "extension not loaded"
    return [Detection(kind, "pg_stat_statements", "it is installed, but not in use in this database")]
