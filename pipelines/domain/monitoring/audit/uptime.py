"""How long a session was there, from its records."""

from collections.abc import Sequence
from datetime import datetime


def covered_seconds(spans: Sequence[tuple[datetime, datetime]], start: datetime, stop: datetime) -> float:
    """Seconds between `start` and `stop` that at least one of the spans covers; those may overlap, in any order."""
    covered, reached = 0.0, start
    for began, ended in sorted(spans):
        ended = min(ended, stop)  # noqa: PLW2901
        if ended > reached:
            covered += (ended - max(began, reached)).total_seconds()
            reached = ended
    return covered
