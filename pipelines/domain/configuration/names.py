"""Public names: symbols, fingerprint tables, and the rows and columns of exported files."""

import re
from decimal import Decimal

SYMBOL_PATTERN = re.compile(r"[A-Z][A-Z0-9]{0,15}")
_TABLE_PATTERN = re.compile(r"([a-z][a-z0-9]*)_fingerprint_directional_(?:baseline|momentum_(-?\d{2,3}))")


def valid_symbol(symbol: str) -> bool:
    """Whether `symbol` is valid: a capital letter, then up to 15 capital letters or digits.

    >>> valid_symbol("BTC"), valid_symbol("btc"), valid_symbol("x; drop")
    (True, False, False)
    """
    return SYMBOL_PATTERN.fullmatch(symbol) is not None


def fingerprint_table(symbol: str, bucket: int | None) -> str:
    """Name of a fingerprint's view and of its exported file.

    >>> fingerprint_table("BTC", None), fingerprint_table("BTC", 7), fingerprint_table("BTC", -7)
    ('btc_fingerprint_directional_baseline', 'btc_fingerprint_directional_momentum_007', \
'btc_fingerprint_directional_momentum_-07')
    """
    suffix = "baseline" if bucket is None else f"momentum_{bucket:03d}"
    return f"{symbol.lower()}_fingerprint_directional_{suffix}"


def answers_view(symbol: str, model: str, bucket: int | None) -> str:
    """The view with the table behind a model's answers: a fingerprint, or the lookup by standardised move."""
    if model == "momentum":
        return fingerprint_table(symbol, bucket)
    return fingerprint_table(symbol, None) if model == "climatology" else "standardised_lookup_cell"


def parse_fingerprint_table(name: str) -> tuple[str, int | None] | None:
    """Symbol and bucket of a fingerprint's name; None for any other name.

    >>> parse_fingerprint_table("btc_fingerprint_directional_momentum_-10")
    ('BTC', -10)
    """
    match = _TABLE_PATTERN.fullmatch(name)
    if match is None:
        return None
    symbol, bucket = match.groups()
    parsed = symbol.upper(), None if bucket is None else int(bucket)
    return parsed if fingerprint_table(*parsed) == name else None


def csv_row_label(ttc_minutes: int) -> str:
    """Row label in an exported file, as in `1m TTC`."""
    return f"{ttc_minutes}m TTC"


def csv_columns(moves_bps: tuple[int, ...]) -> list[str]:
    """Column labels of an exported file, the two sides alternating.

    >>> csv_columns((0, 5))
    ['>= +0.00%', '<= -0.00%', '>= +0.05%', '<= -0.05%']
    """
    percents = [f"{Decimal(move) / 100:.2f}" for move in moves_bps]
    return [label for percent in percents for label in (f">= +{percent}%", f"<= -{percent}%")]
