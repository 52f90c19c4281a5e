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
from pipelines.storage.postgres.statements import Statements, read_rows, read_value

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


@dataclass(frozen=True)
class StoredScore:
    """A model's score over all cases of a stored run; `happened` and `mean_probability` are fractions, times UTC."""

    score_run_id: int
    symbol: str
    origin: str
    scored_from: datetime
    scored_until: datetime
    created_at: datetime
    code_version: str
    dagster_run_id: str | None
    model: str
    n: int
    mean_probability: float
    happened: float
    brier: float | None
    log_loss: float | None
    skill: float | None
    skill_low: float | None
    skill_high: float | None


def read_score_runs(connection: Connection, symbol: str | None, most: int) -> list[StoredScore]:
    """Scores of the newest runs, at most `most`, of one symbol or all; newest first, then by skill."""
    return read_rows(connection, StoredScore, SQL["score_runs"], {"symbol": symbol, "most": most})


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
