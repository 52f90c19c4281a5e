"""Files whose claims about their own values are false: minima, maxima, numbers of nulls, order."""

import io
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from small_price_files import FIRST, NOW, START, stage

from pipelines.errors import PriceFileError

ROWS = 300
MICROSECONDS = [(FIRST - 60 * (ROWS - k)) * 10**6 for k in range(ROWS)]
IN_1970 = [60 * 10**6 * (k + 1) for k in range(ROWS)]
IN_2096 = [int(datetime(2096, 1, 1, tzinfo=UTC).timestamp() + 60 * k) * 10**6 for k in range(ROWS)]


def frame(**columns: object) -> pl.DataFrame:
    prices = {"open": [100.0] * ROWS, "high": [110.0] * ROWS, "low": [90.0] * ROWS, "close": [105.0] * ROWS}
    return pl.DataFrame({"timestamp": MICROSECONDS, **prices, "volume": [1.5] * ROWS, **columns})


def written(folder: Path, values: pl.DataFrame, claims: dict[bytes, bytes], *, kind: str = "parquet") -> Path:
    """A file whose metadata say `claims` in place of what they said."""
    buffer = io.BytesIO()
    if kind == "parquet":
        values.write_parquet(buffer, compression="uncompressed", statistics=True)
    else:
        values.write_ipc(buffer, compression="uncompressed")
    content = buffer.getvalue()
    body = len(content) - 8 - struct.unpack("<I", content[-8:-4])[0] if kind == "parquet" else 0
    data, metadata = content[:body], content[body:]
    for true, claimed in claims.items():
        assert true in metadata
        assert len(true) == len(claimed)
        metadata = metadata.replace(true, claimed)
    path = folder / f"btc.{kind}"
    path.write_bytes(data + metadata)
    return path


def real(value: float) -> bytes:
    return struct.pack("<d", value)


def whole(value: int) -> bytes:
    return struct.pack("<q", value)


def times(found: list[int]) -> dict[bytes, bytes]:
    return {whole(found[0]): whole(MICROSECONDS[0]), whole(found[-1]): whole(MICROSECONDS[-1])}


#: Null counts in the thrift of a footer: a zigzag varint after the header of field 3.
NULLS, NO_NULLS = b"\x36\xac\x02\x28", b"\x36\x80\x00\x28"
LIES: dict[str, tuple[dict[str, object], dict[bytes, bytes], str]] = {
    "1970": ({"timestamp": IN_1970}, times(IN_1970), "implausible_time"),
    "2096": ({"timestamp": IN_2096}, times(IN_2096), "future"),
    "negative price": ({"low": [-90.0] * ROWS}, {real(-90.0): real(90.0)}, "not_positive"),
    "negative volume": ({"volume": [-1.5] * ROWS}, {real(-1.5): real(1.5)}, "not_positive"),
    "high below low": ({"high": [80.0] * ROWS}, {real(80.0): real(115.0)}, "bad_ohlc"),
    "too large": ({"volume": [1e19] * ROWS}, {real(1e19): real(1.5)}, "too_large"),
    "infinite": ({"volume": [float("inf")] * ROWS}, {real(float("inf")): real(1.5)}, "not_a_number"),
    "nulls": ({"close": [None] * 150 + [105.0] * 150}, {NULLS: NO_NULLS}, "not_a_number"),
    "off the minute": (
        {"timestamp": [each + 10**6 for each in MICROSECONDS]},
        times([MICROSECONDS[0] + 10**6, MICROSECONDS[-1] + 10**6]),
        "off_minute",
    ),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("as_timestamp", [False, True])
def test_rows_are_checked_whatever_the_statistics_of_a_parquet_file_claim(
    tmp_path: Path, lie: str, as_timestamp: bool
) -> None:
    columns, claims, reason = LIES[lie]
    values = frame(**columns)
    if as_timestamp:
        values = values.with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))
    with pytest.raises(PriceFileError, match=f"refused as {reason}"):
        stage(written(tmp_path, values, claims))


def test_true_statistics_change_nothing(tmp_path: Path) -> None:
    found = stage(written(tmp_path, frame(), {}), now=NOW)
    assert len(found.minutes) == ROWS
    assert not found.quarantined


FEATHER: dict[str, Callable[[], tuple[pl.DataFrame, dict[bytes, bytes], str]]] = {
    "sorted": lambda: (
        frame(timestamp=pl.Series([*MICROSECONDS[:100], *IN_2096[:100], *MICROSECONDS[200:]]).set_sorted()),
        {},
        "refused as future",
    ),
    "no nulls": lambda: (
        frame(close=[None] * 150 + [105.0] * 150),
        {whole(ROWS) + whole(150): whole(ROWS) + whole(0)},
        "refused as (not_a_number|not_positive)|cannot be read",
    ),
}


@pytest.mark.parametrize("lie", FEATHER)
def test_rows_are_checked_whatever_a_feather_file_claims(tmp_path: Path, lie: str) -> None:
    values, claims, message = FEATHER[lie]()
    with pytest.raises(PriceFileError, match=message):
        stage(written(tmp_path, values, claims, kind="feather"))


def test_the_second_of_two_columns_with_a_name_is_not_overlooked(tmp_path: Path) -> None:
    """DuckDB renames it."""
    path = tmp_path / "btc.parquet"
    frame(High=[111.0] * ROWS).write_parquet(path)
    with pytest.raises(PriceFileError, match="several columns are named high"):
        stage(path, now=START + timedelta(days=2))
