"""Quotes of a book that has bids only."""

from decimal import Decimal

import pytest

from pipelines.domain.markets.books import Book, Quote, on_tick
from pipelines.domain.markets.contracts import PriceRange

CENTS = (PriceRange(Decimal(0), Decimal(1), Decimal("0.01")),)
TAPERED = (
    PriceRange(Decimal(0), Decimal("0.1"), Decimal("0.001")),
    PriceRange(Decimal("0.1"), Decimal("0.9"), Decimal("0.01")),
    PriceRange(Decimal("0.9"), Decimal(1), Decimal("0.001")),
)


def bids(*levels: tuple[str, str]) -> tuple[Quote, ...]:
    return tuple(Quote(Decimal(price), Decimal(contracts)) for price, contracts in levels)


def test_the_ask_of_a_side_is_a_dollar_less_the_other_sides_bid_with_its_size() -> None:
    book = Book("M", bids(("0.78", "1"), ("0.80", "5")), bids(("0.19", "7.25"), ("0.17", "9")))
    quotes = book.quotes(CENTS)
    assert quotes.yes_bid == Quote(Decimal("0.80"), Decimal(5))
    assert quotes.yes_ask == Quote(Decimal("0.81"), Decimal("7.25"))
    assert quotes.no_bid == Quote(Decimal("0.19"), Decimal("7.25"))
    assert quotes.no_ask == Quote(Decimal("0.20"), Decimal(5))
    assert quotes.problems == ()


def test_a_missing_side_leaves_the_other_sides_ask_empty() -> None:
    only_no = Book("M", (), bids(("0.99", "11228"))).quotes()
    assert (only_no.yes_bid, only_no.no_ask) == (None, None)
    assert only_no.yes_ask == Quote(Decimal("0.01"), Decimal(11228))
    assert only_no.problems == ("no bids for YES",)
    assert Book("M", bids(("0.5", "1")), ()).quotes().problems == ("no bids for NO",)
    assert Book("M", (), ()).quotes().problems == ("no bids",)


@pytest.mark.parametrize(("no", "state"), [("0.50", "crossed"), ("0.40", "locked")])
def test_bids_worth_a_dollar_or_more_are_a_problem(no: str, state: str) -> None:
    assert Book("M", bids(("0.60", "1")), bids((no, "1"))).quotes().problems == (
        f"{state}: bids of 0.60 for YES and {no} for NO",
    )


def test_levels_without_contracts_or_outside_the_prices_do_not_count() -> None:
    quotes = Book("M", bids(("0.9", "-3"), ("0.8", "0"), ("0.1", "1")), bids(("1.2", "1"), ("0.2", "1"))).quotes()
    assert (quotes.yes_bid, quotes.no_bid) == (Quote(Decimal("0.1"), Decimal(1)), Quote(Decimal("0.2"), Decimal(1)))
    assert quotes.problems == ("yes bid of -3 at 0.9", "yes bid of 0 at 0.8", "no bid of 1 at 1.2")


def test_prices_between_ticks_are_a_problem() -> None:
    quotes = Book("M", bids(("0.123", "1")), bids(("0.8", "1"))).quotes(TAPERED)
    assert quotes.yes_bid == Quote(Decimal("0.123"), Decimal(1))
    assert quotes.problems == ("yes bid at 0.123 is not on a tick",)


def test_ticks_follow_the_price_ranges() -> None:
    on = [
        price
        for price in ("0", "0.001", "0.0995", "0.1", "0.105", "0.11", "0.899", "0.901", "0.9999", "1")
        if on_tick(Decimal(price), TAPERED)
    ]
    assert on == ["0.001", "0.1", "0.11", "0.901"]
    assert on_tick(Decimal("0.10"), CENTS)
    assert not on_tick(Decimal("0.105"), CENTS)
    assert not on_tick(Decimal("0.10"), ())
