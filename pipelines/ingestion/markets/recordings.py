"""A recording of markets: what its files say, before it is compared with the database."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.domain.evaluation.recorded_quotes import Candles
from pipelines.domain.markets.contracts import Market
from pipelines.errors import MarketError
from pipelines.ingestion.markets.columns import PER_DOLLAR
from pipelines.ingestion.markets.descriptions import DescribedMarket, archived_markets, markets_of_quotes, read_markets
from pipelines.ingestion.markets.files import RecordedFile, read_files
from pipelines.ingestion.markets.rejections import Rejections
from pipelines.ingestion.markets.shapes import (
    ArchivedMarkets,
    CandleTable,
    HourOpens,
    MarketTable,
    QuoteTable,
    UpDownQuotes,
)
from pipelines.ingestion.markets.tables import candles_of, index_rows, quotes_of
from pipelines.ingestion.markets.up_down import read_up_down


@dataclass
class Recording:
    """The files of a recording; `markets`: those that they describe, by ticker; `quotes`, `candles`: see `tables`.

    `index_rows`: values of the index, which are not stored. `skipped`: files left out, with the reason.
    """

    files: list[RecordedFile]
    skipped: list[tuple[str, str]]
    markets: dict[str, DescribedMarket] = field(default_factory=dict)
    quotes: pl.DataFrame | None = None
    candles: pl.DataFrame | None = None
    index_rows: int = 0
    rejections: Rejections = field(default_factory=Rejections)

    @property
    def tickers(self) -> list[str]:
        """The markets that are described or quoted."""
        frames = [frame["ticker"] for frame in (self.quotes, self.candles) if frame is not None]
        quoted = [str(ticker) for one in frames for ticker in one.unique().drop_nulls()]
        return sorted({*self.markets, *quoted})

    @property
    def exchange(self) -> str:
        """The exchange of its markets. Raises MarketError for several."""
        found = {one.exchange for one in self.markets.values()}
        for file in self.files:
            column = file.shape.exchange if isinstance(file.shape, QuoteTable | CandleTable) else None
            if column in file.frame.columns:
                found |= set(file.frame[column].cast(pl.String).unique().drop_nulls())
        if len(found) > 1:
            raise MarketError(f"markets of {' and '.join(sorted(found))} in one folder: import them one by one")
        return found.pop() if found else "kalshi"

    @property
    def facts(self) -> list[dict[str, Any]]:
        """Name, checksum, kind and rows of each file."""
        return [
            {"name": one.name, "sha256": one.sha256, "kind": one.shape.kind, "rows": len(one.frame)}
            for one in self.files
        ]

    def markets_and_candles(self) -> tuple[list[Market], Candles]:
        """The described markets and the last quotes of their candles, for scores without a database.

        Raises MarketError without candles.
        """
        if self.candles is None:
            raise MarketError(f"{', '.join(one.name for one in self.files)}: expected minute candles")
        numbered = pl.DataFrame({"ticker": list(self.markets)}).with_row_index("number")
        frame = self.candles.join(numbered, on="ticker")
        bids, asks = (frame[f"yes_{side}_close"].to_numpy() / PER_DOLLAR for side in ("bid", "ask"))
        numbers, instants = frame["number"].cast(pl.Int64).to_numpy(), frame["at"].dt.epoch("s").to_numpy() // 60
        return [one.market for one in self.markets.values()], Candles(numbers, instants, bids, asks)


def read_recording(path: Path) -> Recording:
    """Read a file, or those of a folder. Raises MarketError for files that cannot be understood with certainty."""
    files, skipped = read_files(path)
    recording = Recording(_most_precise(files, skipped), skipped)
    quotes, candles = [], []
    for file in recording.files:
        described: dict[str, DescribedMarket] = {}
        match file.shape:
            case MarketTable():
                described = read_markets(file, file.shape, recording.rejections)
            case ArchivedMarkets():
                described = archived_markets(file)
            case CandleTable():
                candles.append(candles_of(file, file.shape))
            case QuoteTable():
                quotes.append(quotes_of(file, file.shape))
                recording.index_rows += index_rows(file, file.shape)
                if file.shape.strike is not None:
                    described = markets_of_quotes(file, file.shape)
            case UpDownQuotes():
                described, frame = read_up_down(file, _opens(recording.files, file.name), recording.rejections)
                quotes.append(frame)
            case HourOpens():
                pass
        _add(recording.markets, described, file.name)
    recording.quotes = pl.concat(quotes) if quotes else None
    recording.candles = pl.concat(candles) if candles else None
    return recording


def _add(known: dict[str, DescribedMarket], described: dict[str, DescribedMarket], name: str) -> None:
    for ticker, one in described.items():
        if known.setdefault(ticker, one) != one:
            raise MarketError(f"{name}: {ticker} is described otherwise in another file; nothing was stored")


def _opens(files: Sequence[RecordedFile], name: str) -> RecordedFile:
    found = [one for one in files if isinstance(one.shape, HourOpens)]
    if len(found) != 1:
        raise MarketError(
            f"{name}: expected one file of {HourOpens().kind} beside it, found {len(found)}; nothing was stored"
        )
    return found[0]


def _most_precise(files: Sequence[RecordedFile], skipped: list[tuple[str, str]]) -> list[RecordedFile]:
    """The files without those whose markets another one quotes with more precise prices, which become `skipped`."""
    tables = [(one, one.shape) for one in files if isinstance(one.shape, QuoteTable)]
    kept = list(files)
    for file, shape in tables:
        for other, better in tables:
            same = set(file.frame[shape.ticker]) & set(other.frame[better.ticker])
            if better.precision > shape.precision and same and file in kept:
                skipped.append((file.name, f"{other.name} quotes the same markets, with more precise prices"))
                kept.remove(file)
    return kept
