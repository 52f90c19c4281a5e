"""Answers of the exchange as domain types, for tests without requests."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from market_messages import EVENT, event, market_2026, ticker

from pipelines.domain.markets.listings import Event, Listings, Refused
from pipelines.markets.client import NOT_RECEIVED
from pipelines.markets.slices import finish
from pipelines.markets.wire import read_listings, reading_event

LATER = "KXBTCD-26MAR2107"


def at(clock: str) -> datetime:
    """A time of the day of `market_messages`, such as 09:30."""
    return datetime.fromisoformat(f"2026-03-21T{clock}").replace(tzinfo=UTC)


def row(strike: str = "80199.99", name: str = EVENT, *, closes: str = "10:00:00", **changes: Any) -> dict[str, Any]:
    """A market that opens an hour before it closes."""
    opens = f"{int(closes[:2]) - 1:02}{closes[2:]}"
    times = {"open_time": f"2026-03-21T{opens}Z", "close_time": f"2026-03-21T{closes}Z"}
    return market_2026(strike, name, **{"floor_strike": Decimal(strike), **times, **changes})


def listings(*rows: dict[str, Any]) -> Listings:
    return read_listings(rows, "KXBTCD")


def with_missing(found: Listings, *missing: str) -> Listings:
    """As the client adds markets that it asked for and did not receive."""
    return replace(found, refused=(*found.refused, *(Refused(one, NOT_RECEIVED) for one in missing)))


def whole(*rows: dict[str, Any], name: str = EVENT, **changes: Any) -> Event:
    return read_event({"event": event(list(rows), name, **changes), "markets": []}, name)


def read_event(body: object, name: str) -> Event:
    """The event of an answer about one."""
    return finish(reading_event(body, name))


def tickers(*strikes: str) -> Sequence[str]:
    return [ticker(strike) for strike in strikes]
