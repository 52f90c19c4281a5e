"""When the models of moves are rebuilt: weekly while they are only what other models are compared with."""

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.prices.bars import MINUTES_PER_DAY, MINUTES_PER_WEEK

#: Models of moves: what skill is measured against, and what answers where nothing better is published.
BY_MOVE = ("momentum", "climatology")


@dataclass(frozen=True)
class BuiltYardstick:
    """The published generation of a model of moves. `end`: all bars closed by this minute (since 1970 UTC) are in it.

    `changed_from`: oldest minute whose bar was stored or corrected since it was built, None if none.
    """

    config: ModelConfig
    end: int
    changed_from: int | None


def due_yardstick(
    symbol: str, champion: str | None, built: Sequence[BuiltYardstick], config: ModelConfig, end: int
) -> str | None:
    """Why the models of moves are to be rebuilt from bars up to `end` (minute since 1970 UTC); None when they are not.

    `champion`: the model that answers for the symbol; `built`: what is published, of each model of moves; `config`: of
    the configured model. Symbols have different days of the week, so that not all are rebuilt on one day; a symbol's
    week begins at midnight UTC of its day.
    """
    if champion is None or len(built) < len(BY_MOVE):
        return "it is not published yet"
    if champion in BY_MOVE:
        return f"{champion} answers for {symbol}"
    if any(one.config != config for one in built):
        return "the configuration has changed"
    if any(one.changed_from is not None and one.changed_from < one.end for one in built):
        return "bars that it was built from have changed"
    offset = crc32(symbol.encode()) % 7 * MINUTES_PER_DAY
    if any((end + offset) // MINUTES_PER_WEEK > (one.end + offset) // MINUTES_PER_WEEK for one in built):
        return "a new week has begun"
    return None
