"""Score the live answers of each complete day once."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipelines.domain.evaluation.score_report import ScoreRow, live_rows
from pipelines.storage.evaluation.scores import (
    LIVE,
    SETTLED_WITHIN,
    answers_left_out,
    scored_days,
    settle_answers,
    settled_answers,
    write_scores,
)
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.locks import lock_symbol

DAY = timedelta(days=1)
#: The last ticks and answers of a market are stored within this time of its close.
STORED_WITHIN = timedelta(minutes=1)


@dataclass(frozen=True)
class LiveScores:
    """What `score_live_days` did; `days`: the rows stored for each scored day (UTC).

    Of the answers of all days that were due, `replayed` were given to replayed prices and `unsettled` have no price in
    the last minute of their market: neither are scored.
    """

    settled: int
    days: Mapping[datetime, list[ScoreRow]]
    replayed: int
    unsettled: int

    @property
    def rows(self) -> list[ScoreRow]:
        """The rows of all scored days."""
        return [row for rows in self.days.values() for row in rows]


def due_days(now: datetime, scored: Set[datetime]) -> list[datetime]:
    """Starts of the complete days to score, oldest first: answers older than SETTLED_WITHIN are not settled any more.

    `now`: aware UTC; `scored`: starts of the days that are scored.
    """
    end = (now - STORED_WITHIN).replace(hour=0, minute=0, second=0, microsecond=0)
    days = [end - back * DAY for back in range(SETTLED_WITHIN // DAY, 0, -1)]
    return [day for day in days if day >= now - SETTLED_WITHIN and day not in scored]


def score_live_days(connection: Connection, symbol: str, now: datetime, run_id: str | None = None) -> LiveScores:
    """Settle a symbol's live answers and store a scoring run for each day that has settled answers and none yet.

    An answer belongs to the day on which it was given. `now`: aware UTC. Requires a transaction.
    """
    lock_symbol(connection, "strikecast.live_scores", symbol)  # two runs at once would score a day twice
    settled = settle_answers(connection, symbol, now - STORED_WITHIN)
    days, replayed, unsettled = {}, 0, 0
    for day in due_days(now, scored_days(connection, symbol, now - SETTLED_WITHIN)):
        rows = [
            row
            for answers in settled_answers(connection, symbol, day, day + DAY)
            for row in live_rows(answers.model, answers.settlement, answers.hour, answers.probability, answers.outcomes)
        ]
        if rows:
            write_scores(connection, symbol, LIVE, (day, day + DAY), {}, rows, run_id)
            days[day] = rows
        left_out = answers_left_out(connection, symbol, day, day + DAY)
        replayed += left_out.replayed
        unsettled += left_out.unsettled
    return LiveScores(settled, days, replayed, unsettled)
