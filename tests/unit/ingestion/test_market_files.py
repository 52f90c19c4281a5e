"""Files of recordings: recognised by their columns, skipped or refused by name, never guessed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from market_previews import SERIES, preview, quotes
from recorded_markets import recording
from small_recordings import (
    CLOSES_AT,
    TICKERS,
    at,
    book,
    candle,
    candle_recording,
    candle_rows,
    message,
    quarter_rows,
    write,
)

from pipelines.errors import MarketError
from pipelines.ingestion.markets.importing import preview_recording
from pipelines.ingestion.markets.shapes import SHAPES, columns_of, recognise


def test_each_shape_is_known_by_its_columns_alone() -> None:
    for shape in SHAPES:
        assert recognise([*columns_of(shape), "another"], "any name") is shape
        for column in columns_of(shape):
            with pytest.raises(MarketError, match=r"x.csv: its columns are of no known recording: "):
                recognise(columns_of(shape) - {column}, "x.csv")


def test_columns_that_fit_two_shapes_are_refused() -> None:
    both = columns_of(SHAPES[0]) | columns_of(SHAPES[-1])
    with pytest.raises(MarketError, match=r"x.csv: its columns may be markets or opening prices of hours: "):
        recognise(both, "x.csv")


def test_of_two_files_of_the_same_markets_the_more_precise_one_is_read(tmp_path: Path) -> None:
    write(tmp_path / "book.parquet", [book(0, 1.0, 98.0)])
    write(tmp_path / "ticker.parquet", [message(0, 0.013, 0.014)])
    write(tmp_path / "markets.csv", quarter_rows())
    report = preview(tmp_path)
    assert report.skipped == (("book.parquet", "ticker.parquet quotes the same markets, with more precise prices"),)
    assert report.quotes.inserted == 1


def test_prices_rounded_to_whole_cents_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "book.parquet", [book(0, 62.0, 37.0), book(1, 0.0, 99.0)])
    write(tmp_path / "markets.csv", quarter_rows())
    with pytest.raises(
        MarketError, match=r"book.parquet: 1 rows have contracts at 0 or 100 cents, so its prices are rounded"
    ):
        preview(tmp_path)


@pytest.mark.parametrize("bids", [(1.0, 1.0), (0.0, None), (0.5, 62.0)])
def test_prices_that_may_be_cents_or_dollars_are_refused(tmp_path: Path, bids: Sequence[float | None]) -> None:
    write(tmp_path / "book.parquet", [book(second, bid, None, yes_bid_size=None) for second, bid in enumerate(bids)])
    with pytest.raises(MarketError, match=r"book.parquet: the bids \(yes_bid, no_bid\) may be cents or dollars"):
        preview(tmp_path)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (["2026-07-22T13:00:00", "2026-07-22T13:00:01"], "ts '2026-07-22T13:00:00' has no zone"),
        ([1_000, 2_000], "ts 2000.0 is not in seconds since 1970"),
        ([True, False], "ts has the type Boolean, expected times"),
    ],
)
def test_times_in_doubt_are_refused(tmp_path: Path, times: Sequence[Any], message: str) -> None:
    rows = [book(at, 62.0, 37.0, ts=time) for at, time in enumerate(times)]
    with pytest.raises(MarketError, match=message):
        preview(write(tmp_path / "book.parquet", rows))


def test_parquet_times_without_a_zone_are_refused(tmp_path: Path) -> None:
    rows = [candle(TICKERS[0], 60, ts=CLOSES_AT.replace(tzinfo=None))]
    with pytest.raises(MarketError, match=r"candles.parquet: ts has times without a zone; nothing was stored"):
        preview(candle_recording(tmp_path, rows))


def test_times_in_seconds_and_with_offsets_are_read(tmp_path: Path) -> None:
    write(tmp_path / "book.csv", [book(0, 62.0, 37.0, ts=at(2700).timestamp())])
    write(tmp_path / "markets.csv", quarter_rows(close_time="2026-07-22T14:00:00-04:00"))
    assert quotes(tmp_path)[0][0] == at(2700)


def test_a_damaged_file_is_refused_and_not_skipped(tmp_path: Path) -> None:
    folder = candle_recording(tmp_path)
    content = (folder / "candles.parquet").read_bytes()
    (folder / "candles.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(MarketError, match=r"candles.parquet: cannot be read: .*; nothing was stored"):
        preview(folder)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "candles.parquet", candle_rows())
    pl.read_parquet(tmp_path / "candles.parquet").clear().write_parquet(tmp_path / "candles.parquet")
    with pytest.raises(MarketError, match=r"candles.parquet: it has no rows"):
        preview(tmp_path)


def test_other_files_of_a_folder_are_skipped_by_name(tmp_path: Path) -> None:
    folder = candle_recording(tmp_path)
    (folder / "README.md").write_text("about")
    (folder / "more").mkdir()
    write(folder / "notes.csv", [{"a": 1}])
    assert preview(folder).skipped == (
        ("README.md", "expected .parquet, .csv, .jsonl"),
        ("more", "a folder, which is imported by itself"),
        ("notes.csv", "its columns are of no known recording: a"),
    )


def test_a_path_without_a_recording_is_refused_with_each_reason(tmp_path: Path) -> None:
    with pytest.raises(MarketError, match="no such file or folder"):
        preview(tmp_path / "missing")
    with pytest.raises(MarketError, match="no recording of markets: it is empty"):
        preview(tmp_path)
    (tmp_path / "README.md").write_text("about")
    with pytest.raises(MarketError, match=r"no recording of markets: README.md: expected .parquet, .csv, .jsonl"):
        preview(tmp_path)


def test_a_series_of_no_symbol_is_refused_with_the_remedy(tmp_path: Path) -> None:
    folder = candle_recording(tmp_path)
    with pytest.raises(
        MarketError, match="series KXBTCD is of no configured symbol: name one with --symbol, or set `series`"
    ):
        preview_recording(folder, {})
    assert preview_recording(folder, {}, "BTC").symbols == ("BTC",)
    with pytest.raises(MarketError, match="series KXBTCD is of symbol BTC by the settings, not ETH"):
        preview_recording(folder, SERIES, "ETH")


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("kxbtc15m_real_fills_fees_2026", "fills.csv: fills of an account with their fees, not quotes"),
        ("ws_capture_2026-07", "session.jsonl: raw websocket messages: its order books have no time of receipt"),
        ("kxbtcd_recio_2025-08-03", "1,000 rows of quotes.csv: the market is described neither"),
        ("kxbtc15m_book1s_2026-05/book_1s.parquet", "4,[0-9]+ rows have contracts at 0 or 100 cents"),
    ],
)
def test_recordings_without_use_are_refused_by_name(name: str, message: str) -> None:
    with pytest.raises(MarketError, match=message):
        preview(recording(name))
