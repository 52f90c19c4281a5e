"""Store scoring runs, and settle and read live answers."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg.types.json import Jsonb

from pipelines.domain.evaluation.score_report import ScoreRow
from pipelines.domain.prices.bars import Floats, Ints
from pipelines.storage.models.generations import code_version
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements, read_value

SQL = Statements(__name__)

WALK_FORWARD, LIVE = "walk_forward", "live"


def write_scores(
    connection: Connection,
    symbol: str,
    origin: str,
    span: tuple[datetime, datetime],
    plan: Mapping[str, Any],
    rows: Sequence[ScoreRow],
    run_id: str | None = None,
) -> int:
    """Store a scoring run and return its number; requires a transaction. `span`: start and end of the scored range."""
    parameters = {
        "symbol": symbol,
        "origin": origin,
        "scored_from": span[0],
        "scored_until": span[1],
        "plan": Jsonb(dict(plan)),
        "code_version": code_version(),
        "run_id": run_id,
    }
    run = int(read_value(connection, SQL["insert_score_run"], parameters))
    with connection.cursor().copy(SQL["copy_scores_in"]) as copy:
        for row in rows:
            copy.write_row((run, *astuple(row)))
    return run


def previous_skills(connection: Connection, symbol: str, origin: str, age: timedelta) -> dict[str, float]:
    """Pooled skill of each model in the newest run that is at least `age` old."""
    parameters = {"symbol": symbol, "origin": origin, "age": age}
    return dict(connection.execute(SQL["previous_skills"], parameters).fetchall())


def settle_answers(connection: Connection, symbol: str, now: datetime) -> int:
    """Set the closing price of live answers whose market has closed; return the number settled.

    The closing price is the last tick within 90 seconds before the close; without one an answer stays unsettled.
    """
    return connection.execute(SQL["settle_answers"], {"symbol": symbol, "now": now}).rowcount


@dataclass(frozen=True)
class SettledAnswers:
    """Live answers of one model, each [n]. `hour`: of the answer, UTC; `probability`: fractions."""

    model: str
    hour: Ints
    probability: Floats
    outcomes: npt.NDArray[np.bool_]


def settled_answers(connection: Connection, symbol: str, start: datetime, stop: datetime) -> list[SettledAnswers]:
    """Settled answers given from `start` up to `stop`, by model."""
    rows = connection.execute(SQL["settled_answers"], [symbol, start, stop]).fetchall()
    found = []
    for model in sorted({row[0] for row in rows}):
        of_model = [row for row in rows if row[0] == model]
        hours, percents, outcomes = (np.array([row[i] for row in of_model]) for i in (1, 2, 3))
        found.append(SettledAnswers(model, hours, percents.astype(np.float64) / 100.0, outcomes.astype(np.bool_)))
    return found
