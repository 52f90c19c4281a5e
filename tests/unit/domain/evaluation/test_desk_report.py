"""The report of a backtest: gains with intervals by event and by day, by group, and what was counted."""

from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest
from desk_recordings import CLOSES_AT, RULES, QuoteRow, market, recording

from pipelines.domain.desk.reasons import Rejection
from pipelines.domain.desk.trades import Stage
from pipelines.domain.evaluation.block_bootstrap import block_intervals
from pipelines.domain.evaluation.desk_backtest import Assumptions, DeskRecording, desk_inputs, run_desk
from pipelines.domain.evaluation.desk_report import DeskDimension, DeskReport, desk_report
from pipelines.domain.markets.contracts import MarketResult
from pipelines.domain.markets.fees import FeeTerms

NO_FEES = FeeTerms(multiplier=Decimal(0))


def report(found: DeskRecording, believed: float | list[float] = 0.9) -> DeskReport:
    probabilities = np.broadcast_to(np.asarray(believed, dtype=np.float64), len(found.quotes))
    return desk_report(found, run_desk("backtest", RULES, desk_inputs(found, probabilities, Assumptions())))


def hourly(results: str) -> DeskRecording:
    """An event per hour from 12:00 on, won (w), lost (l), or never entered (-), each for ten contracts at 50 cents."""
    markets = [
        market(
            closes_at=CLOSES_AT + timedelta(hours=hour),
            result=MarketResult.NO if kind == "l" else MarketResult.YES,
        )
        for hour, kind in enumerate(results)
    ]
    rows: list[QuoteRow] = [
        (number, left, *((0.48, 0.50) if kind != "-" else (0.88, 0.90)))
        for number, kind in enumerate(results)
        for left in (20, 19)
    ]
    return recording(markets, rows, NO_FEES)


def test_gains_are_in_all_per_trade_and_per_contract_with_intervals() -> None:
    found = report(hourly("wwl-" * 8))
    assert (found.events, found.days, found.trades, found.traded_events, found.fills) == (32, 2, 24, 24, 24)
    assert (found.contracts, found.bought_usd, found.fees_usd) == (240, 120, 0)
    assert found.gain_usd == 16 * 5 - 8 * 5
    assert found.gain is not None
    assert found.per_trade is not None
    assert found.per_contract is not None
    assert found.gain.value == 40
    assert found.per_trade.value == pytest.approx(40 / 24)
    assert found.per_contract.value == pytest.approx(40 / 240)
    assert found.expected_per_contract == pytest.approx(0.4)
    # Events without a trade gained nothing, and are drawn as the others.
    gains = np.array([{"w": 5.0, "l": -5.0, "-": 0.0}[kind] for kind in "wwl-" * 8])
    (expected,) = block_intervals(gains[:, None], np.arange(32))
    assert found.gain.by_event is not None
    assert (found.gain.by_event.low, found.gain.by_event.high) == pytest.approx((32 * expected.low, 32 * expected.high))
    traded = gains[gains != 0]
    (expected,) = block_intervals(traded[:, None], np.arange(24))
    assert found.per_trade.by_event is not None
    assert (found.per_trade.by_event.low, found.per_trade.by_event.high) == pytest.approx((expected.low, expected.high))
    # The last event of the first day closes at midnight: 13 events belong to it.
    by_day = np.array([gains[:13].sum(), gains[13:].sum()])
    (expected,) = block_intervals(by_day[:, None], np.arange(2))
    assert found.gain.by_day is not None
    assert (found.gain.by_day.low, found.gain.by_day.high) == pytest.approx((2 * expected.low, 2 * expected.high))


def test_trades_are_grouped_by_time_to_close_and_by_side() -> None:
    markets = [market(closes_at=CLOSES_AT + timedelta(hours=hour)) for hour in range(3)]
    rows: list[QuoteRow] = [(0, 50, 0.48, 0.50), (0, 49, 0.48, 0.50), (1, 4, 0.48, 0.50), (1, 3, 0.48, 0.50)]
    rows += [(2, 3, 0.48, 0.50), (2, 2, 0.48, 0.50)]
    found = report(recording(markets, rows, NO_FEES), [0.9, 0.9, 0.9, 0.9, 0.1, 0.1])
    of = {(one.dimension, one.level): one for one in found.results}
    assert {key: (one.trades, one.gain_usd) for key, one in of.items()} == {
        (DeskDimension.TTC, "46-59"): (1, Decimal(5)),
        (DeskDimension.TTC, "3-5"): (2, Decimal(5) - Decimal("5.2")),
        (DeskDimension.SIDE, "yes"): (2, Decimal(10)),
        (DeskDimension.SIDE, "no"): (1, Decimal("-5.2")),
    }
    assert of[DeskDimension.TTC, "46-59"].per_contract.by_event is None
    assert of[DeskDimension.TTC, "3-5"].per_contract.value == pytest.approx(-0.01)
    assert sum(one.contracts for one in found.results if one.dimension is DeskDimension.SIDE) == found.contracts


def test_drawdown_equity_stages_and_rejections_are_those_of_the_desk() -> None:
    found = report(hourly("wl-l"))
    # Positions are worth the bid of 48 cents until they are settled.
    assert found.max_drawdown_usd == Decimal(10)
    assert list(found.equity_usd.values()) == [Decimal(9_995)]
    assert found.stages == {Stage.SETTLED: 3}
    assert (found.signalled, found.unsettled, found.imbalance_usd) == (3, 0, 0)
    assert found.rejections[Rejection.EDGE] == 2
    assert sum(found.rejections.values()) + found.signalled == found.quotes == 8


def test_a_run_without_trades_has_no_gain() -> None:
    found = report(hourly("----"))
    assert (found.trades, found.gain_usd) == (0, 0)
    assert (found.gain, found.per_trade, found.per_contract, found.expected_per_contract) == (None, None, None, None)
    assert found.results == []
    assert list(found.equity_usd.values()) == [RULES.capital_usd]
