"""Read the probability files.

Ages are computed by the reader's clock from the times in the file: a file that is not written any more must not look
fresh.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any

import orjson

from pipelines.domain.markets.settlement import VALUES, SettlementRule
from pipelines.domain.models.freshness import FileState, Freshness, Status, age_text, judge
from pipelines.domain.prices.ticks import REPLAY
from pipelines.errors import single_line
from pipelines.live.file_schema import require_probability_file
from pipelines.live.probability_writer import probabilities_path

#: A file of 21 strikes has 8 kB.
MAX_FILE_BYTES = 2**20


@dataclass(frozen=True)
class Rung:
    """One strike. Probabilities are percentages, None where not known.

    `move_pct`: distance from the price, positive above it; `at_or_above`: probability that the hour closes at or above
    the strike, with its 95 % interval; `below`: 100 - `at_or_above`.
    """

    strike: float | int
    move_pct: float
    at_or_above: float | None
    below: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class View:
    """A symbol's file at an instant; without a readable file, most fields are None or empty.

    `ttc_seconds`: to the file's market close, 0 after it; `rungs`: highest strike first; `notice`: that the prices are
    replayed, None for real ones. A file without a price has no `payload`.
    """

    file: FileState
    ttc_seconds: int | None = None
    rungs: tuple[Rung, ...] = ()
    payload: Mapping[str, Any] | None = None
    notice: str | None = None

    @property
    def symbol(self) -> str:
        """The file's symbol."""
        return self.file.symbol

    @cached_property
    def freshness(self) -> Freshness:
        """The judgement of the file, without a knowledge of the session that writes it."""
        return judge(self.file)

    @property
    def status(self) -> Status:
        """Its status."""
        return self.freshness.status

    @property
    def reasons(self) -> tuple[str, ...]:
        """Every problem with it."""
        return self.freshness.reasons

    @property
    def file_age_seconds(self) -> float | None:
        """Time since the file was written; None without a readable file."""
        return self.file.file_age_seconds

    @property
    def price_age_seconds(self) -> float | None:
        """Age of its price; None without a readable file."""
        return self.file.price_age_seconds


def read_view(folder: Path, symbol: str, now: datetime) -> View:
    """Read a symbol's file at `now` (aware)."""
    return view_of(symbol, read_bytes(folder, symbol), now)


def read_bytes(folder: Path, symbol: str) -> bytes | None:
    """Content of a symbol's file, None when it cannot be read."""
    return read_limited(probabilities_path(folder, symbol))


def read_limited(path: Path) -> bytes | None:
    """A file's content up to one byte more than MAX_FILE_BYTES, None when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError:
        return None


def first_with_price(folder: Path, symbols: Sequence[str], now: datetime) -> str:
    """The first of `symbols` whose file has a price at `now` (aware), or else the first."""
    return next((symbol for symbol in symbols if read_view(folder, symbol, now).payload is not None), symbols[0])


def view_of(symbol: str, content: bytes | None, now: datetime) -> View:
    """A file's content at `now` (aware); None means that there is no file."""
    if content is None:
        problem = f"there is no file for {symbol} yet: `strikecast up` writes it"
        return View(FileState(symbol, Status.MISSING, reasons=(problem,)))
    try:
        if len(content) > MAX_FILE_BYTES:
            raise ValueError(f"over {MAX_FILE_BYTES} bytes")
        payload = orjson.loads(content)
        require_probability_file(payload)
        price_at = payload["price_timestamp"]
        file = FileState(
            symbol,
            file_age_seconds=(now - datetime.fromisoformat(payload["timestamp"])).total_seconds(),
            price_age_seconds=None if price_at is None else (now - datetime.fromisoformat(price_at)).total_seconds(),
            written_status=payload["status"],
            reasons=tuple(single_line(str(reason)) for reason in payload["reasons"]),
        )
        if payload["current_price"] is None:
            return View(file, notice=replay_notice(payload))
        ttc_seconds = max(0, ceil((datetime.fromisoformat(payload["market_close"]) - now).total_seconds()))
        return View(file, ttc_seconds, rungs_of(payload), payload, replay_notice(payload))
    except (ValueError, TypeError, OverflowError) as error:  # of a naive time, or one that is out of range
        reason = single_line(str(error))[:200]
        problem = f"the file of {symbol} is not a probability file ({type(error).__name__}: {reason})"
        return View(FileState(symbol, Status.UNREADABLE, reasons=(problem,)))


def replay_notice(payload: Mapping[str, Any]) -> str | None:
    """That the prices of a file are replayed, and from when; None for real prices."""
    if payload.get("source") != REPLAY:
        return None
    at = payload.get("replayed_timestamp")
    since = "" if at is None else f" of {datetime.fromisoformat(at):%Y-%m-%d %H:%M} UTC"
    return f"replayed prices{since}, not the market's prices now"


def settlement_text(payload: Mapping[str, Any]) -> str:
    """What a file's market settles on, with what is known of it, in a few words."""
    if payload.get("settlement", SettlementRule.LAST_PRICE) == SettlementRule.LAST_PRICE:
        return "last price"
    known = payload.get("known_values", 0)
    return f"mean of {VALUES} s" + (f", {known} known" if known else "")


def basis_text(payload: Mapping[str, Any]) -> str | None:
    """The basis of a file with its source and age, "unknown" without one; None where the market has no index."""
    if payload.get("settlement", SettlementRule.LAST_PRICE) == SettlementRule.LAST_PRICE:
        return None
    basis = payload.get("basis")
    if basis is None:
        return "unknown"
    return f"{basis['bps']:+.1f} bp, {basis['source']}, {age_text(basis['age_seconds'])} old"


def rungs_of(payload: Mapping[str, Any]) -> tuple[Rung, ...]:
    """The strikes of a probability JSON, highest first. Raises ValueError for one that contradicts itself."""
    rungs = []
    for row, interval in zip(payload["probabilities"], payload["intervals"], strict=True):
        move, low, high = row["move_percent"], interval["prob_beyond_low"], interval["prob_beyond_high"]
        if (low is None) != (high is None):
            raise ValueError("an interval has one end only")
        if row["direction"] != "above":
            move = -move
            if low is not None:  # the interval is for closing at or below the strike
                low, high = round(100 - high, 2), round(100 - low, 2)
        above, below = row["positive_prob"], row["negative_prob"]
        rungs.append(Rung(row["strike"], move, above, below, low, high))
    return tuple(reversed(rungs))


def clock_text(seconds: int) -> str:
    """Minutes and seconds, such as 12:34; above an hour with hours.

    >>> clock_text(3600), clock_text(754), clock_text(9), clock_text(90_061)
    ('60:00', '12:34', '00:09', '25:01:01')
    """
    hours, minutes = (0, seconds // 60) if seconds <= 3_600 else divmod(seconds // 60, 60)
    return f"{f'{hours}:' if hours else ''}{minutes:02d}:{seconds % 60:02d}"
