"""With how many other symbols an ingestion compares its bars."""

from datetime import UTC, datetime

from pipelines.ingestion.ingest import COMPARED_SYMBOLS, symbols_to_compare
from pipelines.storage.prices.incoming_bars import StoredRange

AT = datetime(2026, 7, 1, tzinfo=UTC)
BEFORE = datetime(2026, 1, 1, tzinfo=UTC)


def stored(symbol: str, close: float) -> StoredRange:
    return StoredRange(symbol, BEFORE, AT, AT, close)


def test_of_many_symbols_the_first_few_and_those_of_the_same_price_are_compared() -> None:
    others = [stored(f"C{number}", 2.0**number) for number in range(200)]
    compared = symbols_to_compare(others, 2.0**100, AT)
    assert compared == [*others[:COMPARED_SYMBOLS], others[100]]


def test_of_few_symbols_all_are_compared() -> None:
    others = [stored(f"C{number}", 10.0**number) for number in range(COMPARED_SYMBOLS)]
    assert symbols_to_compare(others, 0.5, AT) == others
