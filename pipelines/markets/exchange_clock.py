"""Compare the exchange's clock with ours, by the dates of its answers."""

from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

#: Answers that are compared; an old one says nothing about a clock that has been set since.
ANSWERS = 30
#: From this difference on, closes and settlement windows are taken as much too early or too late.
LIMIT_SECONDS = 1.5


class ClockComparison:
    """Bounds of the exchange's clock minus ours.

    A date has whole seconds, and the answer was written between our request and its arrival. The bounds of several
    answers together are narrower than those of one.
    """

    def __init__(self) -> None:
        self._bounds: deque[tuple[float, float]] = deque(maxlen=ANSWERS)

    def add(self, sent_at: datetime, received_at: datetime, headers: Mapping[str, str]) -> None:
        """Add an answer; one without a date, or from a cache, says nothing."""
        by_name = {name.lower(): value for name, value in headers.items()}
        date = None
        with suppress(ValueError):
            date = parsedate_to_datetime(by_name.get("date", ""))
        if date is None or date.tzinfo is None or by_name.get("age", "0") != "0":
            return
        low, high = (date - received_at).total_seconds(), (date + timedelta(seconds=1) - sent_at).total_seconds()
        if self._bounds and not (low <= self._high and self._low <= high):
            self._bounds.clear()
        self._bounds.append((low, high))

    @property
    def problem(self) -> str | None:
        """A message when the clocks differ by more than LIMIT_SECONDS."""
        if not self._bounds or (self._low <= LIMIT_SECONDS and self._high >= -LIMIT_SECONDS):
            return None
        middle = (self._low + self._high) / 2
        state = "behind" if middle > 0 else "ahead of"
        return f"this machine's clock is about {abs(middle):.1f} s {state} the exchange's: set it by NTP"

    @property
    def _low(self) -> float:
        return max(low for low, _ in self._bounds)

    @property
    def _high(self) -> float:
        return min(high for _, high in self._bounds)
