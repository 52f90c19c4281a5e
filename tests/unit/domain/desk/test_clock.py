"""A clock that is set back or jumps, and inputs out of order."""

from datetime import timedelta
from decimal import Decimal

import pytest
from paper_desk import CLOSE, T, board, bought, desk, kinds, market, only, result, seconds

from pipelines.domain.desk.desk import apply
from pipelines.domain.desk.events import EventKind
from pipelines.domain.desk.reasons import Rejection
from pipelines.domain.desk.trades import Stage

DAY = timedelta(days=1)


def test_a_clock_set_back_cancels_orders_rejects_the_board_and_then_goes_on() -> None:
    state = desk()
    apply(state, board())
    back = T - seconds(30)
    events = apply(state, board(market(back), market(back, ticker="other"), at=back))
    assert kinds(events) == ["clock", "cancel", "end"]
    assert events[0].reason == "the clock was set back by 30 s"
    assert state.totals["BTC"].rejections[Rejection.CLOCK] == 2
    assert state.at == back
    assert kinds(apply(state, board(market(back + seconds(1)), at=back + seconds(1)))) == ["signal"]


def test_inputs_out_of_order_by_a_second_are_no_clock_set_back() -> None:
    state = desk()
    apply(state, board())
    before = T - seconds(1)
    assert apply(state, board(market(before), at=before)) == []
    assert state.at == T
    assert only(apply(state, result("no", T - seconds(1.1), ticker="other")), EventKind.CLOCK)


@pytest.mark.parametrize(
    ("days", "expected"), [(-1, ["clock", "cancel", "end"]), (1, ["cancel", "end", "signal"])], ids=["back", "ahead"]
)
def test_an_order_is_never_filled_after_a_jump_of_a_day(days: int, expected: list[str]) -> None:
    state = desk()
    apply(state, board())
    at = T + days * DAY
    assert kinds(apply(state, board(market(at), at=at, closes_at=CLOSE + days * DAY))) == expected


def test_nothing_is_entered_while_the_clock_is_a_day_ahead_of_the_markets() -> None:
    state = desk()
    ahead = T + DAY
    assert apply(state, board(market(ahead), at=ahead)) == []
    assert state.totals["BTC"].rejections == {Rejection.TIME: 1}


def test_positions_losses_and_results_survive_a_clock_that_jumps_a_day_ahead_and_back() -> None:
    state = bought(daily_loss_usd=Decimal(20))
    apply(state, result("no"))
    assert state.loss_today_usd > 20
    at = CLOSE + seconds(60)
    assert kinds(apply(state, result("yes", at + DAY, ticker="other"))) == ["kept"]
    assert kinds(apply(state, result("yes", at, ticker="other"))) == ["clock", "breach"]
    assert state.loss_today_usd > 20
    assert kinds(apply(state, result("yes", at + seconds(60)))) == ["revise", "kept"]


def test_a_position_is_kept_when_the_clock_is_set_back_before_it_was_bought() -> None:
    state = bought()
    back = T - timedelta(minutes=10)
    assert kinds(apply(state, board(market(back), at=back))) == ["clock"]
    assert state.active[1].stage is Stage.OPEN
    assert kinds(apply(state, result())) == ["settle"]


def test_contracts_taken_are_remembered_when_the_clock_is_set_back() -> None:
    state = desk(positions_per_event=1)
    apply(state, board())
    apply(state, board(market(T + seconds(1), size="10"), at=T + seconds(1)))
    apply(state, board(market(T - seconds(9), size="10"), at=T - seconds(9)))
    assert sum(taken.contracts for taken in state.taken.values()) == 10


def test_a_hole_of_an_hour_in_the_inputs_cancels_the_order_and_keeps_the_position() -> None:
    state = desk(stake_usd=Decimal(44))
    apply(state, board())
    apply(state, board(market(T + seconds(1), size="30"), at=T + seconds(1)))
    after = CLOSE + timedelta(minutes=40)
    events = apply(state, result("yes", after))
    assert kinds(events) == ["cancel", "settle"]
    assert events[0].reason == "the market has closed"
    assert state.ended[1].paid_usd == 30
