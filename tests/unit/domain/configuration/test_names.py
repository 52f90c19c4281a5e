"""Public names of symbols, fingerprints and exported columns."""

import csv
import doctest
from pathlib import Path
from string import ascii_uppercase, digits

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.domain.configuration import names as naming
from pipelines.domain.configuration.model import ModelConfig, Profile
from pipelines.domain.configuration.names import (
    csv_columns,
    csv_row_label,
    fingerprint_table,
    parse_fingerprint_table,
    valid_symbol,
)


def test_docstring_examples_pass() -> None:
    result = doctest.testmod(naming)
    assert result.attempted >= 4
    assert result.failed == 0


@pytest.mark.parametrize(
    ("bucket", "suffix"),
    [
        (None, "baseline"),
        (0, "momentum_000"),
        (7, "momentum_007"),
        (30, "momentum_030"),
        (-1, "momentum_-01"),
        (-30, "momentum_-30"),
    ],
)
def test_a_fingerprint_is_named_as_in_the_original(bucket: int | None, suffix: str) -> None:
    assert fingerprint_table("BTC", bucket) == f"btc_fingerprint_directional_{suffix}"


@settings(deadline=None)
@given(
    first=st.sampled_from(ascii_uppercase),
    rest=st.text(ascii_uppercase + digits, max_size=15),
    bucket=st.none() | st.integers(-99, 99),
)
def test_a_name_parses_to_its_symbol_and_bucket(first: str, rest: str, bucket: int | None) -> None:
    symbol = first + rest
    assert valid_symbol(symbol)
    assert parse_fingerprint_table(fingerprint_table(symbol, bucket)) == (symbol, bucket)


def test_62_fingerprints_of_a_symbol_have_62_names() -> None:
    buckets = (None, *ModelConfig().buckets)
    assert len({fingerprint_table("BTC", bucket) for bucket in buckets}) == 62


@pytest.mark.parametrize(
    "name",
    [
        "",
        "btc_fingerprint_directional",
        "btc_fingerprint_directional_",
        "btc_fingerprint_directional_baseline_old",
        "btc_fingerprint_directional_momentum_7",
        "btc_fingerprint_directional_momentum_0007",
        "btc_fingerprint_directional_momentum_+07",
        "btc_fingerprint_directional_momentum_",
        "BTC_fingerprint_directional_baseline",
        "1btc_fingerprint_directional_baseline",
        "_fingerprint_directional_baseline",
        "btc_fingerprint_directional_baseline\n",
        "x btc_fingerprint_directional_baseline",
    ],
)
def test_other_names_do_not_parse(name: str) -> None:
    assert parse_fingerprint_table(name) is None


@pytest.mark.parametrize("symbol", ["BTC", "A", "SOL2", "A" * 16])
def test_capital_letters_and_digits_are_a_valid_symbol(symbol: str) -> None:
    assert valid_symbol(symbol)


@pytest.mark.parametrize(
    "symbol", ["", "btc", "2X", "A" * 17, "BTC-USD", "BTC\n", " BTC", "BTC ", "B;DROP", "B_C", "É", 'B"', "B/../C"]
)
def test_any_other_text_is_not_a_valid_symbol(symbol: str) -> None:
    assert not valid_symbol(symbol)


def test_columns_alternate_between_the_sides() -> None:
    columns = csv_columns(ModelConfig().moves_bps)
    assert len(columns) == 82
    assert columns[:4] == [">= +0.00%", "<= -0.00%", ">= +0.05%", "<= -0.05%"]
    assert columns[-2:] == [">= +2.00%", "<= -2.00%"]


def test_names_labels_and_columns_equal_the_originals_exports(reference: Path) -> None:
    files = sorted(reference.glob("*.csv"))
    assert len(files) == 4
    assert {parse_fingerprint_table(file.stem) for file in files} == {
        ("BTC", None),
        ("BTC", -10),
        ("BTC", 0),
        ("BTC", 10),
    }
    for file in files:
        header, *rows = csv.reader(file.read_text(encoding="utf-8").splitlines())
        assert header[1:] == csv_columns(ModelConfig(profile=Profile.SOURCE).moves_bps)
        assert [row[0] for row in rows] == [csv_row_label(minute) for minute in range(1, 61)]
