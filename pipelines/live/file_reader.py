"""The probability files, as those see them who only read.

Ages are told by the reader's clock from the times in the file, never from what its writer said: a file that nobody
writes any more must not look fresh.
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
from pipelines.live.file_writer import probabilities_path

#: A price or a file older than this is stale; so is one from a clock that is ahead by more.
STALE_AFTER_SECONDS = STALE_AFTER_MS / 1000
#: A session writes each second. After five without a file there is none, or it hangs.
UNWRITTEN_AFTER_SECONDS = 5.0


class Status(StrEnum):
    """What a reader may think of a file."""

    OK = "ok"
    DEGRADED = "degraded"
    STALE = "stale"
    UNWRITTEN = "not written"
    MISSING = "missing"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Rung:
    """One strike: `move_pct` from the price, positive above it; `at_or_above`: percent that the hour closes there, with
    its 95 % interval; `reach`: percent that the price ends at or past the strike, seen from where it is. None where not
    known.
    """

    strike: float | int
    move_pct: float
    at_or_above: float | None
    below: float | None
    low: float | None
    high: float | None
    reach: float | None


@dataclass(frozen=True)
class View:
    """A symbol's file at an instant. What is not known, for want of a readable file, is None or empty.

    `ttc_seconds`: to the file's market close, 0 when that has passed; `rungs`: highest strike first.
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
    """What a symbol's file says at `now` (aware)."""
    return view_of(symbol, read_bytes(folder, symbol), now)


def read_bytes(folder: Path, symbol: str) -> bytes | None:
    """A symbol's file, None when there is none that can be read."""
    try:
        return probabilities_path(folder, symbol).read_bytes()
    except OSError:
        return None


def first_with_file(folder: Path, symbols: Sequence[str]) -> str:
    """The first of `symbols` that has a file, else the first."""
    return next((symbol for symbol in symbols if probabilities_path(folder, symbol).is_file()), symbols[0])


def view_of(symbol: str, content: bytes | None, now: datetime) -> View:
    """What a file's content says at `now` (aware); None: there is no file."""
    if content is None:
        return View(symbol, Status.MISSING, (f"there is no file for {symbol} yet: `strikecast up` writes it",))
    try:
        return _judged(symbol, orjson.loads(content), now)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        return View(symbol, Status.UNREADABLE, (f"the file of {symbol} is no probability file ({what})",))


def _judged(symbol: str, payload: Mapping[str, Any], now: datetime) -> View:
    file_age = (now - datetime.fromisoformat(payload["timestamp"])).total_seconds()
    price_age = (now - datetime.fromisoformat(payload["price_timestamp"])).total_seconds()
    ttc = (datetime.fromisoformat(payload["market_close"]) - now).total_seconds()
    status, reasons = _status(payload, file_age, price_age)
    return View(
        symbol,
        status,
        reasons,
        file_age,
        price_age,
        max(0, ceil(ttc)),
        tuple(_rungs(payload)),
        payload,
    )


def _status(payload: Mapping[str, Any], file_age: float, price_age: float) -> tuple[Status, tuple[str, ...]]:
    """The worst of what the reader's clock and the file say, and all reasons."""
    said = tuple(single_line(str(reason)) for reason in payload["reasons"])
    if file_age > UNWRITTEN_AFTER_SECONDS:
        return Status.UNWRITTEN, (f"no session writes this file: it is {age_text(file_age)} old", *said)
    ages = {"file": file_age, "price": price_age}
    old = [f"the {name} is {age_text(age)} old" for name, age in ages.items() if age > STALE_AFTER_SECONDS]
    ahead = [
        f"the {name} is {age_text(-age)} ahead of this clock: its age is not known"
        for name, age in ages.items()
        if age < -STALE_AFTER_SECONDS
    ]
    if old or ahead:
        return Status.STALE, (*old, *ahead, *said)
    if payload["status"] == Status.STALE:
        return Status.STALE, (*said, "its session will not renew it")
    return (Status.OK if payload["status"] == Status.OK else Status.DEGRADED), said


def _rungs(payload: Mapping[str, Any]) -> list[Rung]:
    pairs = zip(payload["probabilities"], payload["intervals"], strict=True)
    return [_rung(row, interval) for row, interval in reversed(list(pairs))]


def _rung(row: Mapping[str, Any], interval: Mapping[str, Any]) -> Rung:
    upward = row["direction"] == "above"
    low, high = interval["prob_beyond_low"], interval["prob_beyond_high"]
    if not upward and low is not None:  # the interval is of falling to the strike or below it
        low, high = round(100 - high, 2), round(100 - low, 2)
    move = row["move_percent"] if upward else -row["move_percent"]
    return Rung(row["strike"], move, row["positive_prob"], row["negative_prob"], low, high, row["prob_beyond"])


def age_text(seconds: float) -> str:
    """An age for people.

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
    """Minutes and seconds.

    >>> clock_text(3600), clock_text(754), clock_text(9)
    ('60:00', '12:34', '00:09')
    """
    return f"{seconds // 60:02d}:{seconds % 60:02d}"
