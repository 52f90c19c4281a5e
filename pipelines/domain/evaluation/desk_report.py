"""What a backtest of the paper desk says: trades, gains with intervals, drawdown, fees, and why nothing was entered.

The trades of an event are one bet, and the events of a day share its market: intervals resample events, and UTC days of
closes. No gain is stated without them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

import numpy as np

from pipelines.domain.desk.events import EventKind
from pipelines.domain.desk.reasons import Rejection
from pipelines.domain.desk.trades import Stage, Trade
from pipelines.domain.evaluation.block_bootstrap import block_intervals
from pipelines.domain.evaluation.desk_backtest import DeskRecording, DeskRun
from pipelines.domain.evaluation.edge import TTC_GROUPS, Estimate
from pipelines.domain.evaluation.scoring import Interval
from pipelines.domain.prices.bars import SECONDS_PER_MINUTE, Floats, Ints
from pipelines.domain.prices.ticks import EPOCH


class DeskDimension(StrEnum):
    """What trades are grouped by."""

    TTC = "ttc_minutes"
    SIDE = "side"


@dataclass(frozen=True)
class DeskResult:
    """Gains of a group of trades in dollars, after fees; `contracts`: bought."""

    dimension: DeskDimension
    level: str
    trades: int
    events: int
    contracts: Decimal
    gain_usd: Decimal
    per_contract: Estimate


@dataclass(frozen=True)
class DeskReport:
    """A backtest's report. Money is in dollars, gains are after fees.

    `first_at`, `last_at`: minutes of the first and last quote, aware UTC; `events`, `days`: shown, with or without
    trades; `signalled`: trades decided, of which `trades` bought something, by `stages` when it ended; `bought_usd`:
    what they paid without fees; `gain`: in all, `per_trade`, `per_contract`: None without trades;
    `expected_per_contract`: the edge at the signals, by the probability that the desk believed; `equity_usd`: at the
    end of each UTC day; `unsettled`: trades that had not ended.
    """

    first_at: datetime
    last_at: datetime
    quotes: int
    boards: int
    events: int
    days: int
    signalled: int
    trades: int
    traded_events: int
    fills: int
    contracts: Decimal
    bought_usd: Decimal
    fees_usd: Decimal
    stages: Mapping[Stage, int]
    gain_usd: Decimal
    gain: Estimate | None
    per_trade: Estimate | None
    per_contract: Estimate | None
    expected_per_contract: float | None
    max_drawdown_usd: Decimal
    equity_usd: Mapping[date, Decimal]
    results: Sequence[DeskResult]
    rejections: Mapping[Rejection, int]
    breaches: int
    unsettled: int
    imbalance_usd: Decimal


def desk_report(recording: DeskRecording, run: DeskRun) -> DeskReport:
    """The report of a run over a recording."""
    quotes, state = recording.quotes.quotes, run.state
    bought = [trade for trade in run.trades if trade.entry.filled]
    first_at, last_at = (EPOCH + timedelta(minutes=int(quotes.instants[row])) for row in (0, -1))
    # Events of the recording, those without trades too: an event without a trade gained nothing.
    events, first = np.unique(quotes.events, return_index=True)
    days = quotes.close_days[first]
    rejections = state.totals_of(recording.symbol).rejections
    fills = [event for event in run.events if event.kind in {EventKind.BUY, EventKind.SELL}]
    stages = [trade.stage for trade in run.trades]
    return DeskReport(
        first_at=first_at,
        last_at=last_at,
        quotes=len(quotes),
        boards=run.boards,
        events=len(events),
        days=len(np.unique(days)),
        signalled=len(run.trades),
        trades=len(bought),
        traded_events=len({trade.event_ticker for trade in bought}),
        fills=len(fills),
        contracts=sum((trade.entry.filled for trade in bought), Decimal(0)),
        bought_usd=sum((trade.entry.value_usd for trade in bought), Decimal(0)),
        fees_usd=sum((trade.fees_usd for trade in bought), Decimal(0)),
        stages={stage: stages.count(stage) for stage in Stage if stage in stages},
        gain_usd=state.book.gain_usd,
        gain=_total(recording, bought, events, days) if bought else None,
        per_trade=_mean(bought, np.ones(len(bought))) if bought else None,
        per_contract=_mean(bought, _contracts(bought)) if bought else None,
        expected_per_contract=_expected(bought) if bought else None,
        max_drawdown_usd=state.max_drawdown_usd,
        equity_usd={at.date(): equity for at, equity in run.equity_usd},
        results=_groups(bought),
        rejections=dict(sorted(rejections.items(), key=lambda one: -one[1])),
        breaches=sum(event.kind is EventKind.BREACH for event in run.events),
        unsettled=len(state.active),
        imbalance_usd=state.book.imbalance_usd,
    )


def _groups(trades: Sequence[Trade]) -> list[DeskResult]:
    """By minutes to the close when the trade was signalled, and by side; groups without trades are left out."""
    minutes = [(trade.closes_at - trade.signalled_at).total_seconds() / SECONDS_PER_MINUTE for trade in trades]
    groups = [
        (DeskDimension.TTC, f"{first}-{last}", [first <= each < last + 1 for each in minutes])
        for first, last in TTC_GROUPS
    ]
    sides = sorted({trade.side for trade in trades})
    groups += [(DeskDimension.SIDE, str(side), [trade.side is side for trade in trades]) for side in sides]
    found = []
    for dimension, level, chosen in groups:
        if of_group := [trade for trade, is_chosen in zip(trades, chosen, strict=True) if is_chosen]:
            found.append(
                DeskResult(
                    dimension,
                    level,
                    len(of_group),
                    len({trade.event_ticker for trade in of_group}),
                    sum((trade.entry.filled for trade in of_group), Decimal(0)),
                    sum((trade.gain_usd for trade in of_group), Decimal(0)),
                    _mean(of_group, _contracts(of_group)),
                )
            )
    return found


def _total(recording: DeskRecording, trades: Sequence[Trade], events: Ints, days: Ints) -> Estimate:
    """The sum over all events of the recording, which are resampled by themselves or by day."""
    names = recording.quotes.markets[np.unique(recording.quotes.quotes.events, return_index=True)[1]]
    gains = dict.fromkeys((recording.markets[number].event_ticker for number in names.tolist()), 0.0)
    for trade in trades:
        gains[trade.event_ticker] += float(trade.gain_usd)
    values = np.array(list(gains.values()))
    sums: Floats = np.bincount(np.unique(days, return_inverse=True)[1], weights=values).astype(np.float64)
    by_event, by_day = (_interval(each, np.arange(len(each)), np.ones(len(each))) for each in (values, sums))
    return Estimate(float(values.sum()), _times(by_event, len(events)), _times(by_day, len(sums)))


def _mean(trades: Sequence[Trade], weights: Floats) -> Estimate:
    """Gain per unit of the weights."""
    gains = np.array([float(trade.gain_usd) for trade in trades])
    numbers = {event: number for number, event in enumerate(sorted({trade.event_ticker for trade in trades}))}
    events = np.array([numbers[trade.event_ticker] for trade in trades])
    days = np.array([(trade.closes_at.astimezone(UTC) - timedelta(seconds=1)).toordinal() for trade in trades])
    by_event, by_day = (_interval(gains / weights, blocks, weights) for blocks in (events, days))
    return Estimate(float(gains.sum() / weights.sum()), by_event, by_day)


def _expected(trades: Sequence[Trade]) -> float:
    """Mean edge of the contracts bought, as it was signalled."""
    return float(np.average([float(trade.edge_usd) for trade in trades], weights=_contracts(trades)))


def _contracts(trades: Sequence[Trade]) -> Floats:
    return np.array([float(trade.entry.filled) for trade in trades])


def _interval(values: Floats, blocks: Ints, weights: Floats) -> Interval | None:
    try:
        return block_intervals(values[:, None], blocks, weights)[0]
    except ValueError:  # one block
        return None


def _times(interval: Interval | None, number: int) -> Interval | None:
    return (
        None
        if interval is None
        else Interval(interval.estimate * number, interval.low * number, interval.high * number)
    )
