"""How often markets are asked for, and the client's settings for it."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pipelines.configuration.sections import MarketSettings
from pipelines.markets.address import BASE_URL
from pipelines.markets.client import ClientSettings
from pipelines.sources.retries import RetryPolicy


@dataclass(frozen=True)
class PollPolicy:
    """Intervals in seconds of the feed's clock.

    `poll_seconds`, `phase_seconds`: quotes of the `nearest_markets` are asked for each `poll_seconds`, that long after
    the full second, when no new prices come. `whole_seconds`: between answers with the whole event, and how long before
    the close the last one is asked for, and the next event looked for. `search_seconds`: between searches of an event
    that is needed now; `all_search_seconds`: otherwise. `horizon_seconds`: the next event closes within that time; for
    `late_seconds` after a close it is expected to be listed, when an event of a later hour is the only one.
    `result_seconds`: between questions for results, at first; they become a twelfth of the time since the close, at
    most `longest_result_seconds`, and end after `result_hours`. `retry`: its `stall_seconds` are those after which the
    answer to a poll is too late.
    """

    poll_seconds: float = 1.0
    phase_seconds: float = 0.4
    nearest_markets: int = 21
    whole_seconds: float = 60.0
    search_seconds: float = 2.0
    all_search_seconds: float = 300.0
    horizon_seconds: float = 3_900.0
    late_seconds: float = 600.0
    status_seconds: float = 5.0
    fees_seconds: float = 3_600.0
    result_seconds: float = 5.0
    longest_result_seconds: float = 300.0
    result_hours: float = 6.0
    retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(stall_seconds=2.0))


def is_due(at: datetime | None, now: datetime, seconds: float) -> bool:
    """Whether what was done at an instant is to be done again after `seconds`: also when the clock was set back."""
    return at is None or now < at or now - at >= timedelta(seconds=seconds)


def poll_settings(settings: MarketSettings, url: str | None = None) -> ClientSettings:
    """Settings of the feed's client: it repeats nothing by itself, because the feed asks again with newer questions.

    `url`: in place of the setting, for the simulated exchange.
    """
    return ClientSettings(
        base_url=url or settings.url or BASE_URL,
        timeout_seconds=10.0,
        deadline_seconds=10.0,
        requests_per_second=settings.requests_per_second,
        attempts=1,
        source=settings.source,
    )
