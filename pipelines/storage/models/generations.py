"""Generations of models: recording, publication and rollback.

A build writes only rows of its own generation. Publication and rollback are a one-row UPDATE of `active_generation`: at
any isolation level a reader sees either the old generation or the new one, and never waits (postgres.md, section 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from tenacity import Retrying, retry_if_not_result, stop_after_delay, wait_fixed

from pipelines.domain.configuration.model import MODEL_NAME, Profile
from pipelines.domain.models.base import Rule
from pipelines.domain.models.lookup import AxisKind, LookupAxes
from pipelines.domain.models.registry import model_named
from pipelines.domain.prices.bars import Closes, instant_of_minute
from pipelines.errors import BuildError, NoDataError
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.locks import MAINTENANCE_LOCK, acquire_shared_until_commit
from pipelines.storage.postgres.statements import Statements, read_value
from pipelines.storage.prices.history import BarSummary

SQL = Statements(__name__)

#: Limit of a publication's wait for current readers: longer than a busy server takes from planning a statement to its
#: snapshot.
READERS_WAIT_SECONDS = 2.0


@dataclass(frozen=True)
class ModelVersion:
    """One row of `analytics.model_version`; times are UTC."""

    generation: int
    symbol: str
    model: str
    profile: str
    origin: str
    state: str
    config: dict[str, Any]
    nodes: list[int]
    ttc_step_seconds: int
    ttc_max_seconds: int
    axis_step: int
    axis_max: int
    axis: str
    uncertainty_step: int | None
    buckets: list[int]
    borrowed_from: str | None
    code_version: str
    first_bar_at: datetime | None
    last_bar_at: datetime | None
    bar_count: int | None
    fingerprint_rows: int | None
    lookup_rows: int | None
    lookup_sha256: str | None
    created_at: datetime
    completed_at: datetime | None
    published_at: datetime | None

    @property
    def axes(self) -> LookupAxes:
        """Axes of this generation's lookup."""
        return LookupAxes(
            Profile(self.profile),
            self.ttc_step_seconds,
            self.ttc_max_seconds,
            self.axis_step,
            self.axis_max,
            AxisKind(self.axis),
            self.uncertainty_step,
            tuple(self.buckets),
        )

    @property
    def rule(self) -> Rule:
        """Rule of this generation's model."""
        return model_named(self.model).rule(self.config)


def code_version() -> str:
    """Version of the installed strikecast."""
    return metadata.version("strikecast")


def start_generation(
    connection: Connection,
    symbol: str,
    model: str,
    rule: Rule,
    nodes: Sequence[int],
    *,
    bars: BarSummary | None = None,
    origin: str = "built",
    borrowed_from: str | None = None,
    run_id: str | None = None,
) -> int:
    """Record a new generation in state `building` and return its number.

    `nodes`: of the tables, in the unit of the axis; `bars`: the bars it is built from, None for imported tables.
    """
    axes = rule.axes
    generation = read_value(
        connection,
        SQL["start_generation"],
        {
            "symbol": symbol,
            "model": model,
            "profile": str(axes.profile),
            "origin": origin,
            "config": Jsonb(rule.as_json()),
            "nodes": list(nodes),
            "ttc_step_seconds": axes.ttc_step_seconds,
            "ttc_max_seconds": axes.ttc_max_seconds,
            "axis": str(axes.axis),
            "axis_step": axes.axis_step,
            "axis_max": axes.axis_max,
            "evidence_step": axes.uncertainty_step,
            "buckets": list(axes.buckets),
            "borrowed_from": borrowed_from,
            "code_version": code_version(),
            "first_bar_at": None if bars is None else bars.first_bar_at,
            "last_bar_at": None if bars is None else bars.last_bar_at,
            "bar_count": None if bars is None else bars.bars,
            "dagster_run_id": run_id,
        },
    )
    return int(generation)


def summarize_closes(closes: Closes) -> BarSummary:
    """Count and range of bars in memory."""
    first, last = closes.minutes[[0, -1]].tolist()
    return BarSummary(len(closes), instant_of_minute(first), instant_of_minute(last))


def read_version(connection: Connection, generation: int) -> ModelVersion:
    """A generation's record. Raises NoDataError when there is none."""
    with connection.cursor(row_factory=class_row(ModelVersion)) as cursor:
        version = cursor.execute(SQL["model_version"], [generation]).fetchone()
    if version is None:
        raise NoDataError(f"there is no generation {generation}")
    return version


def latest_built_generation(connection: Connection, symbol: str, model: str = MODEL_NAME) -> int:
    """The newest generation whose fingerprints are stored and not rejected. Raises NoDataError when there is none."""
    row = connection.execute(SQL["latest_generation"], [symbol, model]).fetchone()
    if row is None or row[0] is None:
        raise NoDataError(
            f"{symbol} has no fingerprints of the model {model}: materialize them, or run `strikecast build {symbol}`"
        )
    return int(row[0])


def generation_for_lookup(connection: Connection, symbol: str, run_id: str | None, model: str = MODEL_NAME) -> int:
    """The newest generation if it has no lookup yet; otherwise a new one with the same fingerprints.

    A generation's numbers never change, so a rebuilt lookup needs a new generation.
    """
    latest = latest_built_generation(connection, symbol, model)
    if read_version(connection, latest).lookup_rows is None:
        return latest
    parameters = {"generation": latest, "code_version": code_version(), "dagster_run_id": run_id}
    copy = int(read_value(connection, SQL["copy_of_generation"], parameters))
    connection.execute(SQL["copy_of_fingerprints"], {"generation": latest, "copy": copy})
    return copy


def active_generation(connection: Connection, symbol: str, model: str = MODEL_NAME) -> int:
    """The published generation. Raises NoDataError when none is."""
    row = connection.execute(SQL["active_generation"], [symbol, model]).fetchone()
    if row is None:
        raise NoDataError(f"no generation of {model} is published for {symbol}: run `strikecast build {symbol}`")
    return int(row[0])


def finish_generation(connection: Connection, generation: int, *, complete: bool) -> None:
    """Set the state of a building generation to `complete` or `rejected`; a final state never changes."""
    state = "complete" if complete else "rejected"
    connection.execute(SQL["finish_generation"], {"generation": generation, "state": state})


def publish(connection: Connection, generation: int) -> ModelVersion:
    """Make a complete generation, whose lookup is committed, the active one; needs a transaction.

    Raises BuildError when it is not complete.
    """
    version = read_version(connection, generation)
    if version.published_at is None:  # otherwise its partition was attached long ago
        _wait_for_current_readers(connection)
    if version.model == MODEL_NAME:
        connection.execute(SQL["create_fingerprint_views"], [version.symbol])
    acquire_shared_until_commit(connection, MAINTENANCE_LOCK)
    if connection.execute(SQL["publish"], [generation]).fetchone() is None:
        raise BuildError(
            f"generation {generation} of {version.symbol} is {version.state}, only a complete one is published"
        )
    connection.execute(SQL["record_publication"], [generation])
    return version


def _wait_for_current_readers(connection: Connection) -> None:
    """Wait until the current readers of the lookup finish, READERS_WAIT_SECONDS at most, without blocking others.

    PostgreSQL plans a statement before it takes its snapshot. A statement planned before the partition was attached
    does not scan it; if the generation were published before its snapshot, it would find the pointer and no rows.
    """

    def readers() -> set[str]:
        return {transaction for (transaction,) in connection.execute(SQL["lookup_readers"])}

    earlier = readers()
    waiting = Retrying(
        retry=retry_if_not_result(bool),
        wait=wait_fixed(0.01),
        stop=stop_after_delay(READERS_WAIT_SECONDS),
        retry_error_callback=lambda _: False,
    )
    waiting(lambda: earlier.isdisjoint(readers()))


def roll_back(connection: Connection, symbol: str, model: str = MODEL_NAME) -> tuple[int, int]:
    """Make the generation published before the active one active; needs a transaction.

    Returns (previously active, now active). Raises NoDataError when no earlier generation is left.
    """
    active = active_generation(connection, symbol, model)
    row = connection.execute(SQL["previous_generation"], [symbol, model]).fetchone()
    if row is None or row[0] is None:
        raise NoDataError(f"{symbol} has no published generation before {active}")
    publish(connection, int(row[0]))
    return active, int(row[0])
