"""Fees of the exchange, against the fees that real fills were charged."""

import csv
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_markets import recording

from pipelines.domain.markets.fees import (
    CENT,
    CENTICENT,
    FeePeriod,
    FeeSchedule,
    FeeTerms,
    FeeType,
    Fill,
    Liquidity,
    fill_fee,
    order_fees,
)

TERMS = FeeTerms()
#: From then on the account of the recorded fills was kept in hundredths of a cent.
CENTICENT_FROM = datetime(2026, 5, 28, 17, tzinfo=UTC)
T = datetime(2026, 6, 1, tzinfo=UTC)
COUNTS = st.decimals("0.01", "100000", places=2)
PRICES = st.decimals("0.0001", "0.9999", places=4)
PRECISIONS = st.sampled_from([CENT, CENTICENT])


def buy(contracts: str, price: str, liquidity: Liquidity = Liquidity.TAKER) -> Fill:
    return Fill(Decimal(contracts), Decimal(price), liquidity)


def total(*fills: Fill, precision: Decimal = CENT) -> Decimal:
    return sum((fee.total for fee in order_fees(fills, TERMS, precision)), Decimal(0))


@pytest.mark.parametrize(
    ("contracts", "price", "precision", "charged"),
    [
        ("46", "0.5", CENT, "0.81"),
        ("1", "0.47", CENT, "0.02"),
        ("100", "0.5", CENT, "1.75"),
        ("7", "0.53", CENTICENT, "0.1221"),
        ("1", "0.901", CENTICENT, "0.0063"),
        ("1", "0.901", CENT, "0.009"),  # brings the balance from 0.901 to a whole cent
    ],
)
def test_one_fill(contracts: str, price: str, precision: Decimal, charged: str) -> None:
    assert fill_fee(buy(contracts, price), TERMS, precision).total == Decimal(charged)


def test_an_order_filled_in_parts_is_charged_per_fill() -> None:
    assert total(buy("8", "0.49")) == Decimal("0.14")
    assert total(buy("1", "0.49"), buy("7", "0.49")) == Decimal("0.15")
    assert total(buy("4", "0.50")) == Decimal("0.07")
    assert total(buy("2", "0.50"), buy("2", "0.50")) == Decimal("0.08")


@pytest.mark.real_data
def test_real_fills_were_charged_these_fees() -> None:
    with (recording("kxbtc15m_real_fills_fees_2026") / "fills.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 232
    others: list[tuple[Decimal, Decimal, Decimal]] = []
    for row in rows:
        contracts, cost, charged = Decimal(row["fill_count"]), Decimal(row["taker_cost"]), Decimal(row["taker_fee"])
        precision = CENT if datetime.fromisoformat(row["created_time"]) < CENTICENT_FROM else CENTICENT
        # Some average prices have no exact decimal form.
        if abs(fill_fee(Fill(contracts, cost / contracts), TERMS, precision).total - charged) > Decimal("1e-12"):
            others.append((contracts, cost / contracts, charged))
    assert others == [(Decimal(8), Decimal("0.49"), Decimal("0.15")), (Decimal(4), Decimal("0.50"), Decimal("0.08"))]
    for parts, (contracts, price, charged) in zip([(1, 7), (2, 2)], others, strict=True):
        assert sum(parts) == contracts
        assert total(*(Fill(Decimal(part), price) for part in parts)) == charged


def test_the_order_gets_a_cent_back_when_its_rounding_fees_exceed_a_cent() -> None:
    fills = [buy("1", "0.47")] * 4  # 0.0175 each, rounded by 0.0025 to 0.02
    fees = order_fees([*fills, buy("1", "0.47")], TERMS)
    assert [fee.rounding_fee for fee in fees] == [Decimal("0.0025")] * 5
    assert [fee.rebate for fee in fees] == [0, 0, 0, 0, CENT]  # not at exactly a cent
    assert sum(fee.total for fee in fees) == Decimal("0.09")


def test_makers_pay_the_share_of_the_fee_type() -> None:
    fill = buy("100", "0.5", Liquidity.MAKER)
    shares = {fee_type: fill_fee(fill, FeeTerms(fee_type)).trade_fee for fee_type in FeeType}
    assert shares == {
        FeeType.QUADRATIC: 0,
        FeeType.QUADRATIC_WITH_MAKER_FEES: Decimal("0.4375"),
        FeeType.QUADRATIC_WITH_COMBO_MAKER_FEES: Decimal("0.875"),
    }
    assert all(fill_fee(buy("100", "0.5"), FeeTerms(fee_type)).trade_fee == Decimal("1.75") for fee_type in FeeType)


def test_a_multiplier_scales_the_fee_and_a_waiver_leaves_only_rounding() -> None:
    assert fill_fee(buy("100", "0.5"), FeeTerms(multiplier=Decimal("0.5"))).total == Decimal("0.875") + Decimal("0.005")
    assert fill_fee(buy("1", "0.5"), FeeTerms(multiplier=Decimal(0))).total == 0
    assert fill_fee(buy("1", "0.505"), FeeTerms(multiplier=Decimal(0))).total == Decimal("0.005")


def test_the_schedule_gives_the_last_terms_that_cover_the_date() -> None:
    old, new, waiver = (
        FeeTerms(multiplier=Decimal(1)),
        FeeTerms(multiplier=Decimal("0.5")),
        FeeTerms(multiplier=Decimal(0)),
    )
    day = timedelta(days=1)
    schedule = FeeSchedule((FeePeriod(old), FeePeriod(new, T), FeePeriod(waiver, T + day, T + 2 * day)))
    at = [T - day, T, T + day - timedelta(microseconds=1), T + day, T + 2 * day, T + 9 * day]
    assert [schedule.terms_at(one) for one in at] == [old, new, new, waiver, new, new]
    with pytest.raises(ValueError, match="no fee terms at"):
        FeeSchedule((FeePeriod(new, T),)).terms_at(T - day)


@pytest.mark.parametrize(("contracts", "price"), [("0", "0.5"), ("-1", "0.5"), ("1", "0"), ("1", "1"), ("NaN", "0.5")])
def test_impossible_fills_are_refused(contracts: str, price: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        buy(contracts, price)
    with pytest.raises(ValueError, match="multiplier"):
        FeeTerms(multiplier=Decimal(-1))


@given(COUNTS, PRICES, PRECISIONS, st.booleans())
def test_the_balance_stays_on_its_precision_and_the_fee_is_less_than_one_step_too_much(
    contracts: Decimal, price: Decimal, precision: Decimal, is_sale: bool
) -> None:
    fee = fill_fee(Fill(contracts, price, is_sale=is_sale), TERMS, precision)
    change = (contracts * price if is_sale else -contracts * price) - fee.total
    exact = Decimal("0.07") * contracts * price * (1 - price)
    assert change % precision == 0
    assert exact <= fee.total < exact + precision + CENTICENT


WHOLE = st.integers(1, 100_000).map(Decimal)
CENT_PRICES = st.integers(1, 99).map(lambda cents: cents * CENT)


@given(st.lists(st.tuples(WHOLE, CENT_PRICES), min_size=1, max_size=8))
def test_an_order_of_whole_contracts_at_whole_cents_costs_at_most_a_cent_too_much(
    parts: list[tuple[Decimal, Decimal]],
) -> None:
    fees = order_fees([Fill(contracts, price) for contracts, price in parts], TERMS)
    exact = sum((Decimal("0.07") * contracts * price * (1 - price) for contracts, price in parts), Decimal(0))
    charged = sum((fee.total for fee in fees), Decimal(0))
    assert exact <= charged <= exact + CENT + len(parts) * CENTICENT


@given(st.lists(st.tuples(COUNTS, PRICES), min_size=1, max_size=8), PRECISIONS)
def test_no_fill_is_paid_for_trading(parts: list[tuple[Decimal, Decimal]], precision: Decimal) -> None:
    fees = order_fees([Fill(contracts, price) for contracts, price in parts], TERMS, precision)
    assert all(fee.total >= 0 for fee in fees)
