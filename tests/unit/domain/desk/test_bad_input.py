"""Inputs and rules that cannot be are refused when they are made, before they can change anything."""

from contextlib import suppress
from dataclasses import fields, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paper_desk import TICKER, T, board, market, quote, result

from pipelines.domain.desk.inputs import RulesInput, SwitchInput
from pipelines.domain.desk.rules import DeskRules
from pipelines.domain.markets.fees import FeeTerms

NAN = Decimal("NaN")
NAIVE = T.replace(tzinfo=None)
NEW_YORK = T.astimezone(timezone(timedelta(hours=-4)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"yes_bid": quote("NaN")}, "yes_bid at NaN"),
        ({"yes_ask": quote("42")}, "yes_ask at 42, expected a multiple of 0.000001 from 0 to 1"),
        ({"no_bid": quote("-0.01")}, "no_bid at -0.01"),
        ({"no_ask": quote("Infinity")}, "no_ask at Infinity"),
        ({"yes_bid": quote("0.0000001")}, "yes_bid at 1E-7"),
        ({"yes_bid": quote("0.4", "-1")}, "yes_bid of -1 contracts, expected 0 or more"),
        ({"yes_bid": quote("0.4", "NaN")}, "yes_bid of NaN contracts"),
        ({"yes_bid": quote("0.4", "1E+12")}, r"yes_bid of 1E\+12 contracts"),
        ({"probability": NAN}, "probability NaN, expected 0 to 1"),
        ({"probability": Decimal("1.01")}, "probability 1.01"),
        ({"low": Decimal(-1)}, "low -1"),
        ({"high": NAN}, "high NaN"),
        ({"low": Decimal("0.6"), "high": Decimal("0.5")}, "low 0.6 is above high 0.5"),
        ({"independent": -1}, "independent -1"),
        ({"received_at": NAIVE}, "received_at 2026-03-21 14:40:00, expected UTC"),
        ({"received_at": NEW_YORK}, "received_at 2026-03-21 10:40:00-04:00, expected UTC"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_a_market_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{TICKER}: {message}"):
        market(**changes)


def test_all_problems_of_a_market_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"yes_bid at 2, .*; probability NaN, .*; independent -5"):
        market(yes_bid=quote("2"), probability=NAN, independent=-5)


@pytest.mark.parametrize("price", ["0", "1", "0.000001", "0.99"])
def test_prices_from_0_to_1_are_accepted_because_recordings_have_0_and_1_for_no_order(price: str) -> None:
    assert market(yes_bid=quote(price)).yes_bid == quote(price)


def test_a_board_that_lists_a_market_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=f"more than one market {TICKER}$"):
        board(market(), market(bid="0.10"))


def test_a_fee_that_no_market_has_is_refused() -> None:
    with pytest.raises(ValueError, match=r"fee multiplier 1E\+60, expected at most 100$"):
        board(market(), fee_terms=FeeTerms(multiplier=Decimal("1E+60")))


@pytest.mark.parametrize(
    ("of", "value", "message"),
    [
        ("yes", "0", "settlement_value 0 contradicts result yes"),
        ("no", "1", "settlement_value 1 contradicts result no"),
        ("scalar", None, "result scalar without settlement_value"),
        ("scalar", "1.5", "settlement_value 1.5, expected between 0 and 1"),
        ("scalar", "NaN", "settlement_value NaN, expected between 0 and 1"),
        ("scalar", "0.1234567", "settlement_value 0.1234567, expected a multiple of 0.000001"),
    ],
)
def test_a_result_that_contradicts_its_payment_is_refused(of: str, value: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{TICKER}: {message}"):
        result(of, value=value)


@pytest.mark.parametrize("at", [NAIVE, NEW_YORK, datetime.max.replace(tzinfo=T.tzinfo)], ids=str)
def test_times_without_utc_and_at_the_end_of_all_years_are_refused(at: datetime) -> None:
    for make in (
        lambda: board(market(), at=at),
        lambda: board(market(), closes_at=at),
        lambda: result(at=at),
        lambda: SwitchInput(at, stopped=True, reason="a test"),
        lambda: RulesInput(at, DeskRules()),
    ):
        with pytest.raises(ValueError, match="expected UTC"):
            make()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stake_usd": NAN}, "stake_usd is NaN, expected 0.01 to"),
        ({"capital_usd": Decimal(0)}, "capital_usd is 0, expected 1 to"),
        ({"max_spread_usd": Decimal(10)}, "max_spread_usd is 10, expected 0 to 1"),
        ({"order_seconds": Decimal("Infinity")}, "order_seconds is Infinity"),
        ({"latency_seconds": Decimal(-1)}, "latency_seconds is -1"),
        (
            {"latency_seconds": Decimal(90)},
            "latency_seconds 90 is not below order_seconds 90, no order could be filled",
        ),
        ({"min_ttc_seconds": 600, "max_ttc_seconds": 60}, "min_ttc_seconds 600 is above max_ttc_seconds 60"),
        ({"balance_precision_usd": Decimal("0.05")}, "balance_precision_usd is 0.05, expected 0.01 or 0.0001"),
        ({"positions_per_event": -1}, "positions_per_event is -1, expected 0 to"),
        ({"daily_loss_usd": Decimal(0), "min_independent": -3}, "min_independent is -3.*; daily_loss_usd is 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_rules_that_cannot_be_or_contradict_each_other_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DeskRules(**changes)
    with pytest.raises(ValueError, match=message):
        replace(DeskRules(), **changes)


@given(st.sampled_from(sorted(DeskRules.BOUNDS)), st.decimals(allow_nan=True, allow_infinity=True))
def test_any_value_of_a_rule_is_accepted_within_its_bounds_or_refused_by_name(name: str, value: Decimal) -> None:
    least, most = DeskRules.BOUNDS[name]
    changes: dict[str, Any] = {name: value}
    if value.is_finite() and least <= value <= most:
        with suppress(ValueError):  # it may contradict another rule
            assert getattr(DeskRules(**changes), name) == value
    else:
        with pytest.raises(ValueError, match=f"{name} is "):
            DeskRules(**changes)


def test_every_number_among_the_rules_has_bounds() -> None:
    others = {"probability", "exit", "balance_precision_usd"}
    assert set(DeskRules.BOUNDS) == {each.name for each in fields(DeskRules)} - others
