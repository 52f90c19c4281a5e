"""The events of one series: which one closes next, and its markets with their newest quotes.

It holds what answers said; it makes no requests and has no clock.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from pipelines.domain.markets.board import EventBoard, MarketSource, QuotedMarket
from pipelines.domain.markets.contracts import MarketStatus
from pipelines.domain.markets.fees import FeeSchedule, FeeTerms
from pipelines.domain.markets.listings import Event, ExchangeStatus, Listing, Listings
from pipelines.domain.markets.nearest import MarketBounds
from pipelines.errors import MarketError
from pipelines.markets.tickers import NOT_RECEIVED

#: A market with such a status is not traded again.
ENDED = frozenset(
    {
        MarketStatus.CLOSED,
        MarketStatus.DETERMINED,
        MarketStatus.DISPUTED,
        MarketStatus.AMENDED,
        MarketStatus.FINALIZED,
    }
)


@dataclass(frozen=True)
class SeriesPlan:
    """One series of markets on a symbol's price; `tier_usd`: the distance between the symbol's strikes."""

    symbol: str
    series_ticker: str
    tier_usd: float


@dataclass
class KnownEvent:
    """An event with its markets by ticker, and those refused with the reason.

    `closes_at`: aware UTC, when most of its markets close by the newest answer. `event`: the event as last received
    with all markets, None before.
    """

    ticker: str
    closes_at: datetime
    event: Event | None = None
    quoted: dict[str, QuotedMarket] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    #: Whether the whole event should be asked for before its time.
    is_outdated: bool = True
    #: Whether it was known before it was over.
    was_open: bool = False
    is_replaced: bool = False
    #: The numbers of the answers that the quotes are of.
    _arrivals: dict[str, int] = field(default_factory=dict)
    #: Computed again when the markets, or their closes, have changed.
    _bounds: MarketBounds | None = None
    _others: tuple[str, ...] | None = None

    def take(self, listings: Iterable[Listing], received_at: datetime, arrival: int) -> None:
        """Take markets of this event; they are refused no more. Those of an answer after `arrival` stay."""
        own = [one for one in listings if self._arrivals.get(one.market.ticker, arrival) <= arrival]
        for one in own:
            ticker = one.market.ticker
            before = self.quoted.get(ticker)
            self.quoted[ticker], self._arrivals[ticker] = QuotedMarket(one, received_at), arrival
            self.refused.pop(ticker, None)
            if before is None or before.listing.market.closes_at != one.market.closes_at:
                self._bounds = self._others = None
        if own:
            closes = Counter(one.market.closes_at for one in own)
            most = max(closes.values())
            at = max(at for at, number in closes.items() if number == most)
            if at != self.closes_at:
                self.closes_at, self.is_outdated = at, True
                self._bounds = self._others = None

    def keep_only(self, tickers: Collection[str]) -> None:
        """Forget markets that are not among `tickers`."""
        for gone in self.quoted.keys() - set(tickers):
            del self.quoted[gone], self._arrivals[gone]
            self._bounds = self._others = None

    def is_over(self, now: datetime) -> bool:
        """Whether it has closed, by its time or because none of its markets is traded again, or is replaced."""
        has_closed = now >= self.closes_at or self.is_replaced
        return has_closed or all(one.listing.market.status in ENDED for one in self.quoted.values())

    def closing_with_it(self) -> tuple[QuotedMarket, ...]:
        """Its markets, without those that close at another time."""
        others = self._closing_otherwise()
        return tuple(one for ticker, one in self.quoted.items() if ticker not in others)

    def nearest(self, price_usd: float | None, count: int) -> tuple[str, ...]:
        """The tickers of the markets nearest to a price."""
        if self._bounds is None:
            self._bounds = MarketBounds.of(one.listing.market for one in self.closing_with_it())
        return self._bounds.nearest(price_usd, count)

    def is_halted(self, exchange: ExchangeStatus) -> bool:
        """Whether none of its markets can be traded now, though it has not closed."""
        return bool(self.quoted) and all(
            one.listing.market.status is MarketStatus.INACTIVE or not exchange.trades(one.listing.exchange_index)
            for one in self.quoted.values()
        )

    def problems(self) -> list[str]:
        """Markets that were refused, or that close at another time than the event."""
        reasons = dict(self.refused)
        for ticker in self._closing_otherwise():
            at = self.quoted[ticker].listing.market.closes_at
            reasons[ticker] = f"closes at {_shown(at)}, not at {_shown(self.closes_at)}"
        return _grouped(reasons)

    def _closing_otherwise(self) -> tuple[str, ...]:
        if self._others is None:
            quoted = self.quoted.items()
            self._others = tuple(name for name, one in quoted if one.listing.market.closes_at != self.closes_at)
        return self._others


class SeriesEvents:
    """What is known of a series."""

    def __init__(self, plan: SeriesPlan, source: MarketSource) -> None:
        self.plan = plan
        self.exchange = ExchangeStatus(exchange_active=True, trading_active=True)
        self.fees: FeeSchedule | None = None
        self._source = source
        self._known: dict[str, KnownEvent] = {}
        #: Reasons of events and markets that cannot be used.
        self._refused: dict[str, str] = {}

    def current(self, now: datetime) -> KnownEvent | None:
        """The event that closes next."""
        events = [known for known in self._known.values() if not known.is_over(now)]
        return min(events, key=lambda known: (known.closes_at, known.ticker), default=None)

    def closing_after(self, event: KnownEvent, now: datetime) -> KnownEvent | None:
        """The event that closes next after another one."""
        later = [one for one in self._known.values() if one is not event and not one.is_over(now)]
        return min(later, key=lambda known: (known.closes_at, known.ticker), default=None)

    def take_event(self, event: Event, received_at: datetime) -> None:
        """Take an event with all its markets: those that it does not list are forgotten.

        Raises MarketError for an event without usable markets; what is known of it is kept.
        """
        markets = event.markets
        if event.series_ticker != self.plan.series_ticker:
            raise MarketError(f"event {event.ticker}: series {event.series_ticker}, expected {self.plan.series_ticker}")
        refused = {one.ticker: one.reason for one in markets.refused}
        if not markets.listings:
            raise MarketError(f"event {event.ticker}: no markets{_because(refused)}")
        known = self._known_event(markets.listings[0])
        known.event = event
        known.refused = refused
        known.keep_only([*(one.market.ticker for one in markets.listings), *refused])
        known.take(markets.listings, received_at, markets.arrival)
        # A close that this answer has changed is known of all markets now, unless a later answer changed it.
        known.is_outdated = not known.closing_with_it()
        self._refused.pop(event.ticker, None)

    def take_found(self, listings: Listings, received_at: datetime) -> None:
        """Take markets of any events of the series; those of events that were over before are left out."""
        self._refused = {one.ticker: one.reason for one in listings.refused}
        by_event: dict[str, list[Listing]] = {}
        for one in listings.listings:
            if one.market.closes_at > received_at and one.market.status not in ENDED:
                by_event.setdefault(one.market.event_ticker, []).append(one)
        for markets in by_event.values():
            self._known_event(markets[0]).take(markets, received_at, listings.arrival)
        closes = {self._known[ticker].closes_at for ticker in by_event}
        for known in self._known.values():
            known.is_replaced = known.ticker not in by_event and known.closes_at in closes

    def take_quotes(
        self, event: KnownEvent, wanted: Collection[str], listings: Listings, received_at: datetime
    ) -> None:
        """Take markets of an event that were asked for by ticker; `wanted`: all that were.

        Those refused keep their quotes, whose age grows. Raises MarketError when none of them is in the answer.
        """
        own = [one for one in listings.listings if one.market.event_ticker == event.ticker]
        others = [one.market for one in listings.listings if one.market.event_ticker != event.ticker]
        for one in listings.refused:
            event.refused[one.ticker] = one.reason
        for market in others:
            event.refused[market.ticker] = f"event_ticker {market.event_ticker!r}: expected {event.ticker}"
        event.is_outdated |= any(one.reason == NOT_RECEIVED for one in listings.refused)
        event.take(own, received_at, listings.arrival)
        if not own:
            refused = {one: event.refused[one] for one in wanted if one in event.refused}
            raise MarketError(f"event {event.ticker}: none of {len(wanted)} markets{_because(refused)}")

    def refuse(self, reasons: Mapping[str, str]) -> None:
        """Keep the reasons of events or markets that cannot be used, until the next search."""
        self._refused |= reasons

    def is_known(self, event_ticker: str) -> bool:
        """Whether an event with this ticker is known; one that is over is, until `take_ended` forgets it."""
        return event_ticker in self._known

    def take_ended(self, now: datetime) -> list[tuple[datetime, list[str]]]:
        """Forget the events that are over; returns the closes and the tickers of those that have ended since.

        An event that was over when it was first received has not: it may have been followed to its end before.
        """
        over = [known for known in self._known.values() if known.is_over(now)]
        for known in over:
            del self._known[known.ticker]
        for known in self._known.values():
            known.was_open = True
        return [(known.closes_at, list(known.quoted)) for known in over if known.was_open]

    def board(self, now: datetime, failure: str | None, problems: Iterable[str] = ()) -> EventBoard:
        """The board; `failure`: why there are no newer quotes, `problems`: what else is wrong, beside the markets."""
        known = self.current(now)
        terms = FeeTerms() if self.fees is None else self.fees.terms_at(now)
        board = EventBoard(
            self.plan.symbol,
            self.plan.series_ticker,
            self._source,
            fee_terms=terms,
            trading=self.exchange.trades(None),
            failure=failure,
            problems=(*problems, *_grouped(self._refused)),
        )
        if known is None:
            return board
        return replace(
            board,
            event_ticker=known.ticker,
            title="" if known.event is None else known.event.title,
            closes_at=known.closes_at,
            markets=known.closing_with_it(),
            fee_terms=terms if known.event is None else known.event.fee_terms(terms),
            trading=not known.is_halted(self.exchange),
            problems=(*board.problems, *known.problems()),
        )

    def _known_event(self, listing: Listing) -> KnownEvent:
        market = listing.market
        return self._known.setdefault(market.event_ticker, KnownEvent(market.event_ticker, market.closes_at))


def _shown(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _grouped(refused: Mapping[str, str]) -> list[str]:
    """Reasons of refused markets, each once: an event has up to 200 markets."""
    tickers: dict[str, list[str]] = {}
    for ticker, reason in refused.items():
        tickers.setdefault(reason, []).append(ticker)
    return [f"{_and_more(names)}: {reason}" for reason, names in tickers.items()]


def _because(refused: Mapping[str, str]) -> str:
    return f": {'; '.join(_grouped(refused))}" if refused else ""


def _and_more(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
