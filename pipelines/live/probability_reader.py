"""Read the probability files and assess them.

Ages are computed by the reader's clock from the times in the file: a file that is not written any more must not look
fresh.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import ceil
from pathlib import Path
from typing import Any

import orjson

from pipelines.domain.models.ladder import STALE_AFTER_MS
from pipelines.errors import single_line
from pipelines.live.probability_writer import probabilities_path

#: A price or a file older than this is stale; so is one from a clock that is ahead by more.
STALE_AFTER_SECONDS = STALE_AFTER_MS / 1000
#: A session writes each second. After five seconds without a write it has ended or hangs.
UNWRITTEN_AFTER_SECONDS = 5.0


class Status(StrEnum):
    """The assessment of a file."""

    OK = "ok"
    DEGRADED = "degraded"
    STALE = "stale"
    UNWRITTEN = "not written"
    MISSING = "missing"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Rung:
    """One strike. Probabilities are percentages, None where not known.

    `move_pct`: distance from the price, positive above it; `at_or_above`: probability that the hour closes at or above
    the strike, with its 95 % interval; `beyond`: that it closes at or past the strike, seen from the price.
    """

    strike: float | int
    move_pct: float
    at_or_above: float | None
    below: float | None
    low: float | None
    high: float | None
    beyond: float | None


@dataclass(frozen=True)
class View:
    """A symbol's file at an instant; without a readable file, most fields are None or empty.

    `ttc_seconds`: to the file's market close, 0 after it; `rungs`: highest strike first.
    """

    symbol: str
    status: Status
    reasons: tuple[str, ...] = ()
    file_age_seconds: float | None = None
    price_age_seconds: float | None = None
    ttc_seconds: int | None = None
    rungs: tuple[Rung, ...] = ()
    payload: Mapping[str, Any] | None = None


def read_view(folder: Path, symbol: str, now: datetime) -> View:
    """Read a symbol's file at `now` (aware)."""
    return view_of(symbol, read_bytes(folder, symbol), now)


def read_bytes(folder: Path, symbol: str) -> bytes | None:
    """Content of a symbol's file, None when it cannot be read."""
    try:
        return probabilities_path(folder, symbol).read_bytes()
    except OSError:
        return None


def first_with_file(folder: Path, symbols: Sequence[str]) -> str:
    """The first of `symbols` that has a file, or else the first."""
    return next((symbol for symbol in symbols if probabilities_path(folder, symbol).is_file()), symbols[0])


def view_of(symbol: str, content: bytes | None, now: datetime) -> View:
    """Assess a file's content at `now` (aware); None means that there is no file."""
    if content is None:
        return View(symbol, Status.MISSING, (f"there is no file for {symbol} yet: `strikecast up` writes it",))
    try:
        payload = orjson.loads(content)
        file_age = (now - datetime.fromisoformat(payload["timestamp"])).total_seconds()
        price_age = (now - datetime.fromisoformat(payload["price_timestamp"])).total_seconds()
        ttc_seconds = max(0, ceil((datetime.fromisoformat(payload["market_close"]) - now).total_seconds()))
        status, reasons = _status(payload, file_age, price_age)
        return View(symbol, status, reasons, file_age, price_age, ttc_seconds, _rungs(payload), payload)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        problem = f"the file of {symbol} is not a probability file ({type(error).__name__}: {error})"
        return View(symbol, Status.UNREADABLE, (problem,))


def _status(payload: Mapping[str, Any], file_age: float, price_age: float) -> tuple[Status, tuple[str, ...]]:
    """The worse of the status by the reader's clock and the status in the file, and all reasons."""
    reasons = tuple(single_line(str(reason)) for reason in payload["reasons"])
    if file_age > UNWRITTEN_AFTER_SECONDS:
        return Status.UNWRITTEN, (f"no session writes this file: it is {age_text(file_age)} old", *reasons)
    ages = {"file": file_age, "price": price_age}
    old = [f"the {name} is {age_text(age)} old" for name, age in ages.items() if age > STALE_AFTER_SECONDS]
    ahead = [
        f"the {name} is {age_text(-age)} ahead of this clock: its age is not known"
        for name, age in ages.items()
        if age < -STALE_AFTER_SECONDS
    ]
    if old or ahead:
        return Status.STALE, (*old, *ahead, *reasons)
    if payload["status"] == Status.STALE:
        return Status.STALE, (*reasons, "its session will not refresh it")
    return (Status.OK if payload["status"] == Status.OK else Status.DEGRADED), reasons


def _rungs(payload: Mapping[str, Any]) -> tuple[Rung, ...]:
    rungs = []
    for row, interval in zip(payload["probabilities"], payload["intervals"], strict=True):
        move, low, high = row["move_percent"], interval["prob_beyond_low"], interval["prob_beyond_high"]
        if row["direction"] != "above":
            move = -move
            if low is not None:  # the interval is for closing at or below the strike
                low, high = round(100 - high, 2), round(100 - low, 2)
        above, below = row["positive_prob"], row["negative_prob"]
        rungs.append(Rung(row["strike"], move, above, below, low, high, row["prob_beyond"]))
    return tuple(reversed(rungs))


def age_text(seconds: float) -> str:
    """An age in its largest sensible unit.

    >>> age_text(0.44), age_text(65), age_text(600), age_text(30_000), age_text(400_000)
    ('0.4 s', '65 s', '10 min', '8 h', '5 d')
    """
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    for limit, unit, name in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if seconds < limit:
            return f"{round(seconds / unit)} {name}"
    return f"{round(seconds / 86_400)} d"


def clock_text(seconds: int) -> str:
    """Minutes and seconds, such as 12:34.

    >>> clock_text(3600), clock_text(754), clock_text(9)
    ('60:00', '12:34', '00:09')
    """
    return f"{seconds // 60:02d}:{seconds % 60:02d}"


def iso(instant: datetime) -> str:
    """An instant (UTC) as the files write it, with milliseconds and Z."""
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
