"""Store scoring runs, and settle and read live answers."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg.types.json import Jsonb

from pipelines.domain.evaluation.score_report import ScoreRow
from pipelines.domain.markets.settlement import SettlementRule, settled_price
from pipelines.domain.prices.bars import Floats, Ints
from pipelines.storage.models.generations import code_version
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements, read_rows, read_value

SQL = Statements(__name__)

WALK_FORWARD, LIVE = "walk_forward", "live"
#: An answer that is older is not settled any more.
SETTLED_WITHIN = timedelta(days=8)


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
    """A model's score over all cases of a stored run that were settled by one rule.

    `happened` and `mean_probability` are fractions, times UTC.
    """

    score_run_id: int
    symbol: str
    origin: str
    scored_from: datetime
    scored_until: datetime
    created_at: datetime
    code_version: str
    dagster_run_id: str | None
    model: str
    settlement: str
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


@dataclass(frozen=True)
class _DueClose:
    """A close with unsettled answers, and the ticks of its last 70 seconds, oldest first."""

    market_close: datetime
    settlement: str
    tick_source: str | None
    close_ms: int
    ticked_ms: list[int]
    prices_usd: list[float]

    @property
    def value_usd(self) -> float | None:
        ticked_ms, prices_usd = np.array(self.ticked_ms), np.array(self.prices_usd)
        return settled_price(SettlementRule(self.settlement), ticked_ms, prices_usd, self.close_ms)


def settle_answers(connection: Connection, symbol: str, now: datetime) -> int:
    """Set the closing price of live answers whose market has closed; return the number settled.

    It is the value by the answer's settlement rule (`settled_price`) of the ticks of its source: of any source but
    replay, if the source is unknown or `external`; of replay for an answer to replayed prices. Where the ticks do not
    give it an answer stays unsettled, and after SETTLED_WITHIN it is not tried again.
    """
    given = {"symbol": symbol, "now": now, "since": now - SETTLED_WITHIN}
    settled = 0
    for due in read_rows(connection, _DueClose, SQL["due_closes"], given):
        if (price_usd := due.value_usd) is not None:
            close = {"market_close": due.market_close, "settlement": due.settlement, "tick_source": due.tick_source}
            settled += connection.execute(SQL["settle_close"], {**given, **close, "price_usd": price_usd}).rowcount
    return settled


@dataclass(frozen=True)
class SettledAnswers:
    """Live answers of one model and settlement rule, each [n]. `hour`: of the answer, UTC; `probability`: fractions."""

    settlement: SettlementRule
    model: str
    hour: Ints
    probability: Floats
    outcomes: npt.NDArray[np.bool_]


def settled_answers(connection: Connection, symbol: str, start: datetime, stop: datetime) -> list[SettledAnswers]:
    """Settled answers given from `start` up to `stop`, by rule and model; without answers to replayed prices."""
    given = {"symbol": symbol, "start": start, "stop": stop}
    rows = connection.execute(SQL["settled_answers"], given).fetchall()
    found = []
    for (settlement, model), group in groupby(rows, key=itemgetter(0, 1)):
        hours, percents, outcomes = (np.array(column) for column in list(zip(*group, strict=True))[2:])
        found.append(SettledAnswers(SettlementRule(settlement), model, hours, percents / 100.0, outcomes))
    return found


@dataclass(frozen=True)
class LeftOut:
    """Numbers of answers that are not scored: to replayed prices, and those without a closing price."""

    replayed: int
    unsettled: int


def answers_left_out(connection: Connection, symbol: str, start: datetime, stop: datetime) -> LeftOut:
    """Answers given from `start` up to `stop` that `settled_answers` does not return."""
    (found,) = read_rows(connection, LeftOut, SQL["answers_left_out"], {"symbol": symbol, "start": start, "stop": stop})
    return found


def scored_days(connection: Connection, symbol: str, since: datetime) -> set[datetime]:
    """Starts of the live scoring runs from `since` on, UTC."""
    return {row[0] for row in connection.execute(SQL["scored_from"], {"symbol": symbol, "since": since})}
