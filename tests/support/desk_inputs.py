"""Random inputs of a paper desk, the same for each seed: hours of two symbols with trades of every kind of end."""

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice

from pipelines.domain.desk.inputs import BoardInput, DeskInput, MarketInput, ResultInput, RulesInput, SwitchInput
from pipelines.domain.desk.rules import DeskRules, Exit
from pipelines.domain.markets.books import Quote, quotes_of_bids
from pipelines.domain.markets.contracts import MarketResult, MarketStatus
from pipelines.domain.markets.fees import FeeTerms

BEGAN = datetime(2026, 3, 28, 21, 2, 3, 4_567, tzinfo=UTC)
#: Rules by which nearly every board has a trade.
EAGER = DeskRules(
    interval_share=Decimal(0), exit=Exit.EDGE, positions_per_event=3, daily_loss_usd=Decimal(150), stake_usd=Decimal(40)
)
HOUR = timedelta(hours=1)
SERIES = {"BTC": "KXBTCD", "ETH": "KXETHD"}
TERMS = FeeTerms()


def random_inputs(seed: int, count: int) -> list[DeskInput]:
    """The first `count` of an endless sequence."""
    return list(islice(_inputs(random.Random(seed)), count))  # noqa: S311


def _inputs(rng: random.Random) -> Iterator[DeskInput]:
    at, rules = BEGAN, EAGER
    while True:
        closes_at = at.replace(minute=0, second=0, microsecond=0) + HOUR
        while at < closes_at:
            for symbol in SERIES:
                yield _board(rng, at, symbol, closes_at)
            if rng.random() < 0.05:
                yield SwitchInput(at, rng.random() < 0.4, "an exercise, über 5 % — 'quoted'")
            if rng.random() < 0.05:
                positions = rng.randrange(1, 5)
                rules = replace(rules, positions_per_event=positions, capital_per_symbol_usd=Decimal(40 * positions))
                yield RulesInput(at, rules)
            if rng.random() < 0.02:
                at -= timedelta(seconds=40)
            at += timedelta(seconds=rng.choice((1, 1, 2, 5, 30, 200)), microseconds=rng.randrange(1_000_000))
        for symbol in SERIES:
            yield from _results(rng, at, symbol, closes_at)


def _tickers(symbol: str, closes_at: datetime) -> list[str]:
    return [f"{SERIES[symbol]}-{closes_at:%y%b%d%H}-T{strike}.99" for strike in range(5)]


def _board(rng: random.Random, at: datetime, symbol: str, closes_at: datetime) -> BoardInput:
    tickers = _tickers(symbol, closes_at)
    problem = "the price is stale" if rng.random() < 0.03 else None
    markets = tuple(_market(rng, ticker, at) for ticker in tickers)
    event = tickers[0].rpartition("-")[0]
    return BoardInput(at, symbol, SERIES[symbol], event, closes_at, TERMS, markets, problem)


def _market(rng: random.Random, ticker: str, at: datetime) -> MarketInput:
    bid, spread = rng.randrange(3, 90), rng.randrange(1, 9)
    yes = Quote(Decimal(bid) / 100, _size(rng)) if rng.random() < 0.95 else None
    no = Quote(1 - Decimal(bid + spread) / 100, _size(rng)) if rng.random() < 0.95 else None
    quotes = quotes_of_bids(yes, no)
    probability = Decimal(rng.randrange(10_000, 990_000)) / 1_000_000 if rng.random() < 0.95 else None
    return MarketInput(
        ticker,
        MarketStatus.INACTIVE if rng.random() < 0.03 else MarketStatus.ACTIVE,
        at - timedelta(milliseconds=rng.randrange(2_500)),
        quotes.yes_bid,
        quotes.yes_ask,
        quotes.no_bid,
        quotes.no_ask,
        probability,
        independent=rng.randrange(20, 400),
        problem="not on a tick" if rng.random() < 0.02 else None,
    )


def _size(rng: random.Random) -> Decimal | None:
    return Decimal(rng.randrange(1, 6_000)) / 100 if rng.random() < 0.97 else None


def _results(rng: random.Random, at: datetime, symbol: str, closes_at: datetime) -> Iterator[ResultInput]:
    """Final results of all markets of an event, three of them revised."""
    tickers = _tickers(symbol, closes_at)
    for seconds, given in ((1, tickers), (2, rng.sample(tickers, 3))):
        for ticker in given:
            yield _result(rng, at + timedelta(seconds=seconds), ticker)


def _result(rng: random.Random, at: datetime, ticker: str) -> ResultInput:
    result = rng.choice((MarketResult.YES, MarketResult.YES, MarketResult.NO, MarketResult.SCALAR, MarketResult.VOID))
    value = Decimal(rng.randrange(1, 10_000)) / 10_000 if result is MarketResult.SCALAR else None
    return ResultInput(at, ticker, result, value)
