"""Fees of real fills and results of real markets, through the desk's own orders and settlement."""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby

import polars as pl
import pytest
from paper_desk import board, desk, market, only, quote, seconds
from recorded_markets import hourly_recording, recording

from pipelines.domain.desk.book import Account
from pipelines.domain.desk.desk import apply
from pipelines.domain.desk.events import EventKind
from pipelines.domain.desk.inputs import BoardInput, MarketInput, ResultInput
from pipelines.domain.desk.state import DeskState
from pipelines.domain.markets.contracts import MarketResult, Side
from pipelines.domain.markets.fees import CENT, CENTICENT

#: From then on the account of the recorded fills was kept in hundredths of a cent.
CENTICENT_FROM = datetime.fromisoformat("2026-05-28T17:00:00+00:00")
ONE = Decimal(1)
#: Orders by contracts, cost and fee that were not one fill: their average price is on no tick, or their fee is that of
#: two fills. The quotes (contracts at a price) of which they are, in adjacent ticks.
PARTS = {
    ("8.0", "3.92", "0.15"): ("1 at 0.49", "7 at 0.49"),
    ("4.0", "2.0", "0.08"): ("2 at 0.50", "2 at 0.50"),
    ("7.0", "3.4749", "0.1251"): ("2.51 at 0.49", "4.49 at 0.50"),
    ("13.0", "5.09", "0.22"): ("11 at 0.39", "2 at 0.40"),
    ("31.0", "8.27", "0.43"): ("10 at 0.26", "21 at 0.27"),
    ("35.0", "4.53", "0.28"): ("2 at 0.12", "33 at 0.13"),
    ("2.35", "1.1715", "0.0485"): ("0.35 at 0.49", "2 at 0.50"),
    ("32.35", "0.31815", "0.03185"): ("5.35 at 0.009", "27 at 0.010"),
    ("9.0", "0.481", "0.039"): ("5 at 0.053", "4 at 0.054"),
}


@dataclass(frozen=True)
class RecordedOrder:
    """An order of the recording: its fills (contracts, dollars of its side), and the fee that was charged."""

    at: datetime
    ticker: str
    side: Side
    fills: tuple[tuple[Decimal, Decimal], ...]
    fee_usd: Decimal

    @classmethod
    def of(cls, row: dict[str, str]) -> "RecordedOrder":
        contracts, cost, fee = row["fill_count"], row["taker_cost"], row["taker_fee"]
        average = f"{contracts} at {Decimal(cost) / Decimal(contracts)}"
        parts = (part.split(" at ") for part in PARTS.get((contracts, cost, fee), (average,)))
        fills = tuple((Decimal(count), Decimal(price)) for count, price in parts)
        assert sum(count * price for count, price in fills) == Decimal(cost)
        return cls(datetime.fromisoformat(row["created_time"]), row["ticker"], Side(row["side"]), fills, Decimal(fee))

    def board(self, at: datetime, contracts: Decimal, price: Decimal) -> BoardInput:
        """The market with so many contracts at a price of the side, and a probability by which they are worth it."""
        ask, bid = quote(price, str(contracts)), quote(price - Decimal("0.001"))
        chance = min(ONE, price + Decimal("0.1"))
        yes = self.side is Side.YES
        given = market(
            at,
            ticker=self.ticker,
            yes_bid=bid if yes else None,
            yes_ask=ask if yes else None,
            no_bid=None if yes else bid,
            no_ask=None if yes else ask,
            probability=chance if yes else 1 - chance,
        )
        event = self.ticker.rpartition("-")[0]
        return board(given, at=at, closes_at=self.at + timedelta(minutes=10), event_ticker=event)

    def repeated(self) -> tuple[DeskState, list[Decimal | None]]:
        """The desk after it ordered and met the same quotes, and the fees that it was charged."""
        wanted = sum((count for count, _ in self.fills), Decimal(0))
        limit = max(price for _, price in self.fills)
        state = desk(
            self.at - seconds(1),
            stake_usd=(wanted + 2) * (limit + Decimal("0.03")),
            min_edge_usd=Decimal(-1),
            interval_share=Decimal(0),
            balance_precision_usd=CENT if self.at < CENTICENT_FROM else CENTICENT,
        )
        events = apply(state, self.board(self.at, Decimal(10_000), limit))
        assert [event.kind for event in events] == [EventKind.SIGNAL]
        shown: dict[Decimal, Decimal] = {}
        for second, (count, price) in enumerate(self.fills, 1):
            shown[price] = shown.get(price, Decimal(0)) + count
            events += apply(state, self.board(self.at + seconds(second), shown[price], price))
        buys = only(events, EventKind.BUY)
        assert [(event.contracts, event.price, event.side) for event in buys] == [
            (*one, self.side) for one in self.fills
        ]
        return state, [event.fee_usd for event in buys]


@pytest.mark.real_data
def test_the_desk_is_charged_the_fee_of_every_real_fill() -> None:
    with (recording("kxbtc15m_real_fills_fees_2026") / "fills.csv").open() as file:
        orders = [RecordedOrder.of(row) for row in csv.DictReader(file)]
    assert (len(orders), sum(len(order.fills) == 2 for order in orders)) == (232, 9)
    assert sum(order.at >= CENTICENT_FROM for order in orders) == 8
    differing = []
    for order in orders:
        state, fees = order.repeated()
        cost = sum((count * price for count, price in order.fills), Decimal(0))
        if sum(fee for fee in fees if fee is not None) != order.fee_usd:
            differing.append((order, fees))
        assert state.book.cash_usd == 10_000 - cost - order.fee_usd
    assert differing == []


@dataclass(frozen=True)
class Settled:
    """A recorded market and its result."""

    ticker: str
    event_ticker: str
    closes_at: datetime
    result: MarketResult


def hourly() -> list[Settled]:
    markets, _ = hourly_recording()
    return [
        Settled(each.ticker, each.event_ticker, each.closes_at, each.result)
        for each in markets
        if each.result is not None
    ]


def listed(name: str, ticker: str, close: str) -> list[Settled]:
    """The markets with a result in a list of a recording, whose columns for ticker and close are named."""
    frame = pl.read_csv(recording(f"{name}/markets.csv"), infer_schema=False)
    return [
        Settled(
            row[ticker], row[ticker].rpartition("-")[0], datetime.fromisoformat(row[close]), MarketResult(row["result"])
        )
        for row in frame.iter_rows(named=True)
        if row["result"]
    ]


def ticks() -> list[Settled]:
    return listed("kxbtcd_hourly_ticks_2025-05", "market_ticker", "close_time_iso")


def quarter_hours() -> list[Settled]:
    return listed("kxbtc15m_book1s_2026-05", "ticker", "close_time")


def boards(markets: Sequence[Settled], side: Side) -> Iterator[BoardInput]:
    """Two boards five minutes before an event's close: a contract of the side costs 0.4, and there are 3 of each."""
    closes_at = markets[0].closes_at
    for after in (0, 1):
        at = closes_at - timedelta(minutes=5) + seconds(after)
        given = [quoted(each.ticker, at, side) for each in markets]
        yield board(*given, at=at, closes_at=closes_at, event_ticker=markets[0].event_ticker)


def quoted(ticker: str, at: datetime, side: Side) -> MarketInput:
    bid, ask = ("0.39", "0.40") if side is Side.YES else ("0.60", "0.61")
    return market(at, bid, ask, ticker=ticker, size="3", probability=Decimal("0.5"))


@pytest.mark.real_data
@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize(
    ("recorded", "count"), [(hourly, 5_371), (ticks, 35), (quarter_hours, 64)], ids=["hourly", "ticks", "quarter hours"]
)
def test_every_recorded_market_pays_the_desk_by_its_own_result(
    recorded: Callable[[], list[Settled]], count: int, side: Side
) -> None:
    markets = sorted(recorded(), key=lambda each: (each.closes_at, each.event_ticker, each.ticker))
    assert len(markets) == count
    state = desk(
        markets[0].closes_at - timedelta(hours=1),
        stake_usd=Decimal("1.3"),
        positions_per_event=1_000,
        positions_per_symbol=1_000,
        daily_loss_usd=Decimal(10_000),
    )
    won = 0
    for _, event in groupby(markets, key=lambda each: each.event_ticker):
        of_event = list(event)
        for given in boards(of_event, side):
            apply(state, given)
        held = {trade.ticker: trade for trade in state.active.values()}
        assert {ticker: trade.held for ticker, trade in held.items()} == {each.ticker: 3 for each in of_event}
        for each in of_event:
            apply(state, ResultInput(each.closes_at + seconds(60), each.ticker, each.result))
            pays = each.result.value == side.value
            assert held[each.ticker].paid_usd == 3 * pays
            won += pays
        assert not state.active
    totals = state.totals["BTC"]
    assert (totals.closed, totals.winning, totals.losing) == (count, won, count - won)
    assert state.book.balances[Account.FEES] == count * Decimal("0.0504")
    assert state.book.cash_usd == 10_000 - count * (3 * Decimal("0.4") + Decimal("0.0504")) + 3 * won
