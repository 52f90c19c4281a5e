"""Generations: each build's numbers under a number of its own, and the one-row pointer that readers follow.

A build writes its own generation and never touches another. Publishing, and going back, is a one-row UPDATE: a reader
sees the old generation or the new one, whatever its isolation level, and never waits (postgres.md, section 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from tenacity import Retrying, retry_if_not_result, stop_after_delay, wait_fixed

from pipelines.domain.configuration.model import MODEL_NAME, ModelConfig, Profile
from pipelines.domain.models.base import Rule
from pipelines.domain.models.lookup import AxisKind, LookupAxes
from pipelines.domain.models.momentum import MomentumRule
from pipelines.domain.models.registry import model_named
from pipelines.domain.prices.bars import Closes
from pipelines.errors import BuildError, NoDataError
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.locks import MAINTENANCE_LOCK
from pipelines.storage.postgres.statements import Statements
from pipelines.storage.prices.history import BarSummary

SQL = Statements(__name__)

#: How long a publication waits for those who read meanwhile: longer than the server takes from a statement's plan to
#: its snapshot, however busy the machine is.
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
    evidence_step: int | None
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
        """What is needed to read this generation's lookup."""
        return LookupAxes(
            Profile(self.profile),
            self.ttc_step_seconds,
            self.ttc_max_seconds,
            self.axis_step,
            self.axis_max,
            AxisKind(self.axis),
            self.evidence_step,
            tuple(self.buckets),
        )

    @property
    def rule(self) -> Rule:
        """What places a state and a strike in its tables."""
        return model_named(self.model).rule(self.config)


def code_version() -> str:
    """Version of the installed strikecast."""
    return metadata.version("strikecast")


def start_generation(
    connection: Connection,
    symbol: str,
    config: ModelConfig,
    *,
    closes: Closes | None = None,
    origin: str = "built",
    thresholds_bps: Sequence[int] | None = None,
    run_id: str | None = None,
) -> int:
    """Record a new generation of the momentum model in state `building` and return its number."""
    nodes = tuple(thresholds_bps or config.moves_bps)
    return record_generation(
        connection,
        symbol,
        MODEL_NAME,
        MomentumRule(config),
        nodes,
        bars=None if closes is None else span_of(closes),
        origin=origin,
        run_id=run_id,
    )


def record_generation(
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
    """Record a new generation of any model in state `building` and return its number.

    `nodes`: of the tables, in the axis' unit; `bars`: what it is built from.
    """

    axes = rule.axes
    row = connection.execute(
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
            "evidence_step": axes.evidence_step,
            "buckets": list(axes.buckets),
            "borrowed_from": borrowed_from,
            "code_version": code_version(),
            "first_bar_at": None if bars is None else bars.first_bar_at,
            "last_bar_at": None if bars is None else bars.last_bar_at,
            "bar_count": None if bars is None else bars.bars,
            "dagster_run_id": run_id,
        },
    ).fetchone()
    assert row is not None
    return int(row[0])


def span_of(closes: Closes) -> BarSummary:
    """Count and range of bars in memory."""
    first, last = (datetime.fromtimestamp(int(closes.minutes[index]) * 60, UTC) for index in (0, -1))
    return BarSummary(len(closes), first, last)


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


def generation_to_fill(connection: Connection, symbol: str, run_id: str | None, model: str = MODEL_NAME) -> int:
    """The newest generation, if its lookup is still missing; otherwise a new one with the same fingerprints.

    A generation's numbers never change, so a lookup that is asked for again goes into a generation of its own.
    """
    latest = latest_built_generation(connection, symbol, model)
    if read_version(connection, latest).lookup_rows is None:
        return latest
    row = connection.execute(
        SQL["copy_of_generation"], {"generation": latest, "code_version": code_version(), "dagster_run_id": run_id}
    ).fetchone()
    assert row is not None
    connection.execute(SQL["copy_of_fingerprints"], {"generation": latest, "copy": row[0]})
    return int(row[0])


def active_generation(connection: Connection, symbol: str, model: str = MODEL_NAME) -> int:
    """The published generation. Raises NoDataError when none is."""
    row = connection.execute(SQL["active_generation"], [symbol, model]).fetchone()
    if row is None:
        raise NoDataError(f"no generation of {model} is published for {symbol}: run `strikecast build {symbol}`")
    return int(row[0])


def judge(connection: Connection, generation: int, *, complete: bool) -> None:
    """Mark a checked generation as complete, or as rejected; a verdict is never changed."""
    state = "complete" if complete else "rejected"
    connection.execute(SQL["judge_generation"], {"generation": generation, "state": state})


def publish(connection: Connection, generation: int) -> ModelVersion:
    """Point readers to a complete generation, whose lookup was committed before; needs a transaction.

    Raises BuildError when it is not complete.
    """
    version = read_version(connection, generation)
    if version.published_at is None:  # one to go back to was attached long ago
        _let_earlier_readers_end(connection)
    if version.model == MODEL_NAME:
        connection.execute(SQL["create_fingerprint_views"], [version.symbol])
    connection.execute(SQL["publish_lock"], [MAINTENANCE_LOCK])
    if connection.execute(SQL["publish"], [generation]).fetchone() is None:
        raise BuildError(
            f"generation {generation} of {version.symbol} is {version.state}, only a complete one is published"
        )
    connection.execute(SQL["record_publication"], [generation])
    return version


def _let_earlier_readers_end(connection: Connection) -> None:
    """Wait until who reads the lookup now is done, READERS_WAIT_SECONDS at most; nobody else waits.

    PostgreSQL plans a statement before it takes the snapshot that it reads. One planned before a partition was attached
    does not look into it; were the partition published in between, it would find the pointer and no rows.
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
    """Point readers to the generation published before the active one; needs a transaction.

    Returns (left, taken). Raises NoDataError when there is nothing to go back to.
    """
    left = active_generation(connection, symbol, model)
    row = connection.execute(SQL["previous_generation"], [symbol, model]).fetchone()
    if row is None or row[0] is None:
        raise NoDataError(f"{symbol} has no published generation before {left}")
    publish(connection, int(row[0]))
    return left, int(row[0])
