"""Store a recording of markets in `market_data`, in one transaction."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from pipelines.domain.configuration.names import valid_symbol
from pipelines.domain.markets.books import Quotes
from pipelines.domain.markets.listings import Listing
from pipelines.errors import MarketError
from pipelines.ingestion.markets.checks import check_candles, check_quotes, with_ids
from pipelines.ingestion.markets.descriptions import DescribedMarket
from pipelines.ingestion.markets.recordings import Recording, read_recording
from pipelines.ingestion.markets.rejections import Rejection
from pipelines.log import Log, heartbeat
from pipelines.storage.live.day_partitions import create_day_partitions
from pipelines.storage.markets.candles import CANDLE_SCHEMA, CandleCounts, derive_candles, store_candles
from pipelines.storage.markets.imports import lock_imports, record_import
from pipelines.storage.markets.markets import MarketRecord, StoredMarket, read_markets, upsert_markets
from pipelines.storage.markets.quotes import QUOTE_SCHEMA, QuoteCounts, store_quotes
from pipelines.storage.postgres.connection import Connection, Database, Role

MINUTE = timedelta(minutes=1)
NO_LISTED_NUMBER = Decimal(0)


@dataclass(frozen=True)
class MarketCounts:
    """Markets of the files that were new, known with less, or known. `without_result`: without a final result."""

    inserted: int = 0
    changed: int = 0
    unchanged: int = 0
    without_result: int = 0


@dataclass(frozen=True)
class ImportReport:
    """What was read and stored, or with `is_dry_run` would be.

    `files`: name, sha256, kind and rows; `skipped`: files left out, with the reason. `quotes_unchanged`: those not
    stored because the quote before is the same; `superseded`: because a later update has the same instant; `repeated`:
    candles that are in the files twice. `candles_derived`: computed from quotes. `index_rows`: values of the index,
    which are not stored. `rejected`: rows by file and reason.
    """

    exchange: str
    symbols: tuple[str, ...]
    files: tuple[Mapping[str, Any], ...]
    skipped: tuple[tuple[str, str], ...]
    rows_read: int
    markets: MarketCounts
    quotes: QuoteCounts
    quotes_unchanged: int
    superseded: int
    candles: CandleCounts
    repeated: int
    candles_derived: int
    index_rows: int
    rejected: tuple[Rejection, ...]
    is_dry_run: bool

    @property
    def rows_rejected(self) -> int:
        """Rejected rows of all files."""
        return sum(one.rows for one in self.rejected)

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        skipped = [{"name": name, "reason": reason} for name, reason in self.skipped]
        return {**orjson.loads(orjson.dumps(self)), "skipped": skipped, "rows_rejected": self.rows_rejected}


@dataclass(frozen=True)
class _Checked:
    """What a recording holds for the database: its markets, and the quotes and candles that passed the checks."""

    exchange: str
    markets: Mapping[str, DescribedMarket]
    symbols: Mapping[str, str]
    quotes: pl.DataFrame | None
    candles: pl.DataFrame | None
    quotes_unchanged: int
    superseded: int
    repeated: int


def import_recording(
    database: Database, path: Path, series: Mapping[str, str], symbol: str | None = None, log: Log = lambda _: None
) -> ImportReport:
    """Store the markets, quotes and candles of a file, or of the files of a folder.

    `series`: symbols by series; `symbol`: the one of all series that are not in it. Importing a recording twice changes
    nothing; a candle with other values replaces the stored one. Minutes of quotes become candles where there are none.
    Raises MarketError, and stores nothing, for files that cannot be understood with certainty or contradict what is
    stored.
    """
    with heartbeat(log) as doing:
        doing(f"reading {path.name}")
        recording = read_recording(path)
        exchange = recording.exchange
        with database.connect("import", Role.PIPELINE) as connection:
            lock_imports(connection)
            stored = read_markets(connection, exchange, recording.tickers)
            doing(f"checking {len(recording.tickers):,} markets")
            checked = _check(recording, stored, series, symbol, path)
            if checked.quotes is not None:
                days = checked.quotes["quoted_at"].dt.date().unique().sort().to_list()
                # Committed at once, or live sessions that create days would wait for the import.
                with database.connect("import", Role.PIPELINE, autocommit=True) as creating:
                    create_day_partitions(creating, days, ["market_quote"])
            doing("storing")
            return _store(connection, recording, checked, stored)


def preview_recording(path: Path, series: Mapping[str, str], symbol: str | None = None) -> ImportReport:
    """What importing would store in an empty database; needs none. Raises as `import_recording`."""
    recording = read_recording(path)
    checked = _check(recording, {}, series, symbol, path)
    quotes = QuoteCounts(inserted=0 if checked.quotes is None else len(checked.quotes))
    candles = CandleCounts(inserted=0 if checked.candles is None else len(checked.candles))
    return _report(recording, checked, MarketCounts(len(checked.markets)), quotes, candles, 0, is_dry_run=True)


def _check(
    recording: Recording,
    stored: Mapping[str, StoredMarket],
    series: Mapping[str, str],
    symbol: str | None,
    path: Path,
) -> _Checked:
    exchange = recording.exchange
    markets = {ticker: _with_stored(one, stored.get(ticker)) for ticker, one in recording.markets.items()}
    known = {name: DescribedMarket(exchange, one.settlement, one.market) for name, one in stored.items()} | markets
    quotes = candles = None
    unchanged = superseded = repeated = 0
    if recording.quotes is not None:
        quotes, unchanged, superseded = check_quotes(recording.quotes, known, recording.rejections)
    if recording.candles is not None:
        candles, repeated = check_candles(recording.candles, known, recording.rejections)
    markets = _with_openings(markets, quotes, candles)
    for ticker in [ticker for ticker, one in markets.items() if not one.has_opening]:
        file, row = markets.pop(ticker).source
        rejected = pl.DataFrame({"row": [row], "ticker": [ticker]})
        recording.rejections.add(file, "a market with neither an opening time nor a quote or candle", rejected)
    if not markets and not any(frame is not None and len(frame) for frame in (quotes, candles)):
        why = [f"{one.rows:,} rows of {one.file}: {one.reason}" for one in recording.rejections.found]
        raise MarketError(
            f"{path.name}: nothing in it can be stored: {'; '.join(why) or 'it has no markets and no quotes'}; put a "
            "table of the markets, with strikes, times and results, beside the quotes"
        )
    symbols = {ticker: one.symbol for ticker, one in stored.items()}
    for ticker, one in markets.items():
        found = one.symbol or _symbol(one, series, symbol)
        if symbols.setdefault(ticker, found) != found:
            raise MarketError(f"{ticker} is stored as a market of {symbols[ticker]}, not {found}; nothing was stored")
    return _Checked(exchange, markets, symbols, quotes, candles, unchanged, superseded, repeated)


def _symbol(one: DescribedMarket, series: Mapping[str, str], symbol: str | None) -> str:
    name = one.market.series_ticker
    found = series.get(name, symbol)
    if found is None or not valid_symbol(found):
        raise MarketError(
            f"series {name} is of no configured symbol: name one with --symbol, or set `series` of a symbol"
        )
    if symbol is not None and found != symbol:
        raise MarketError(f"series {name} is of symbol {found} by the settings, not {symbol}")
    return found


def _with_stored(one: DescribedMarket, stored: StoredMarket | None) -> DescribedMarket:
    """A described market completed by what is stored of it. Raises MarketError where they contradict each other."""
    if stored is None:
        return one
    new, old = one.market, stored.market
    problems = [
        f"{name} {getattr(new, name)}, stored {getattr(old, name)}"
        for name in ("event_ticker", "strike_type", "floor_strike", "cap_strike", "closes_at")
        if getattr(new, name) != getattr(old, name)
    ]
    if None not in (new.result, old.result) and new.result != old.result:
        problems.append(f"result {new.result}, stored {old.result}")
    if problems:
        contradiction = f"{new.ticker}: the recording contradicts the database: {'; '.join(problems)}"
        raise MarketError(f"{contradiction}; nothing was stored")
    if not one.has_opening:
        return one.opened_by(old.opens_at)
    return one


def _with_openings(
    markets: Mapping[str, DescribedMarket], quotes: pl.DataFrame | None, candles: pl.DataFrame | None
) -> dict[str, DescribedMarket]:
    """Markets without an opening time were open at their first quote, or at the start of their first candle."""
    seen = [] if quotes is None else [quotes.select("ticker", at="quoted_at")]
    if candles is not None:
        seen.append(candles.select("ticker", at=pl.col("ends_at") - MINUTE))
    first = dict(pl.concat(seen).group_by("ticker").agg(pl.col("at").min()).iter_rows()) if seen else {}
    return {
        ticker: one if one.has_opening or ticker not in first else one.opened_by(first[ticker])
        for ticker, one in markets.items()
    }


def _store(
    connection: Connection, recording: Recording, checked: _Checked, stored: Mapping[str, StoredMarket]
) -> ImportReport:
    records = [_record(one, checked.symbols[ticker], stored.get(ticker)) for ticker, one in checked.markets.items()]
    upserted = upsert_markets(connection, checked.exchange, records)
    ids = {**{name: one.market_id for name, one in stored.items()}, **upserted.ids}
    settled = {name for name, one in stored.items() if one.market.is_settled}
    settled |= {name for name, one in checked.markets.items() if one.market.is_settled}
    markets = MarketCounts(
        inserted=len(upserted.written - stored.keys()),
        changed=len(upserted.written & stored.keys()),
        unchanged=len(upserted.ids.keys() - upserted.written),
        without_result=len(upserted.ids.keys() - settled),
    )
    quotes, candles, derived = QuoteCounts(), CandleCounts(), 0
    if checked.candles is not None:
        candles = store_candles(connection, with_ids(checked.candles, ids, CANDLE_SCHEMA))
    if checked.quotes is not None and len(checked.quotes):
        quotes = store_quotes(connection, with_ids(checked.quotes, ids, QUOTE_SCHEMA))
        first, last = _span(checked.quotes["quoted_at"])
        derived = derive_candles(connection, first - MINUTE, last + MINUTE, exchange=checked.exchange)
    report = _report(recording, checked, markets, quotes, candles, derived, is_dry_run=False)
    changes = markets.inserted + markets.changed + quotes.inserted + candles.inserted + candles.corrected
    rejected = [asdict(one) for one in report.rejected]
    symbols = ", ".join(report.symbols)
    record_import(connection, checked.exchange, symbols, report.files, report.rows_read, changes, rejected)
    return report


def _span(instants: pl.Series) -> tuple[datetime, datetime]:
    first, last = instants.min(), instants.max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    return first, last


def _record(one: DescribedMarket, symbol: str, stored: StoredMarket | None) -> MarketRecord:
    """A market to store; what only the database knows of it stays."""
    market = one.market
    if stored is not None:
        market = replace(market, opens_at=min(market.opens_at, stored.market.opens_at))
    listing = Listing(market, Quotes(), NO_LISTED_NUMBER, NO_LISTED_NUMBER, one.index_value_usd)
    return MarketRecord(symbol, one.settlement, listing)


def _report(
    recording: Recording,
    checked: _Checked,
    markets: MarketCounts,
    quotes: QuoteCounts,
    candles: CandleCounts,
    derived: int,
    *,
    is_dry_run: bool,
) -> ImportReport:
    return ImportReport(
        exchange=checked.exchange,
        symbols=tuple(sorted(set(checked.symbols.values()))),
        files=tuple(recording.facts),
        skipped=tuple(recording.skipped),
        rows_read=sum(len(one.frame) for one in recording.files),
        markets=markets,
        quotes=quotes,
        quotes_unchanged=checked.quotes_unchanged,
        superseded=checked.superseded,
        candles=candles,
        repeated=checked.repeated,
        candles_derived=derived,
        index_rows=recording.index_rows,
        rejected=tuple(recording.rejections.found),
        is_dry_run=is_dry_run,
    )
