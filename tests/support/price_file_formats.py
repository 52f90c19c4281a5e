"""Write bars in the formats of exchanges, data vendors and tools: the files that people have."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import zstandard

FIRST = datetime(2024, 1, 2, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class SampleBar:
    """One bar: aware UTC, USD, coins."""

    at: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float

    @property
    def values(self) -> tuple[float, float, float, float, float]:
        return self.open, self.high, self.low, self.close, self.volume

    @property
    def seconds(self) -> int:
        return int(self.at.timestamp())


def sample_bars(
    count: int = 240, *, first: datetime = FIRST, price: float = 42_280.0, seed: int = 1
) -> list[SampleBar]:
    """Bars without gaps, each opening near the last close, with prices of two decimals."""
    random = np.random.default_rng(seed)
    closes = np.round(price * np.exp(np.cumsum(random.normal(0, 6e-4, count))), 2)
    bars = []
    for at, close in enumerate(closes):
        opened = round(float(closes[at - 1] if at else price) + float(random.choice([0.0, 0.0, 0.01, -0.02])), 2)
        high = round(max(opened, close) + float(random.integers(0, 900)) / 100, 2)
        low = round(min(opened, close) - float(random.integers(0, 900)) / 100, 2)
        bars.append(
            SampleBar(first + at * MINUTE, opened, high, low, float(close), round(float(random.gamma(2, 2)) + 0.001, 5))
        )
    return bars


def lines(header: str, rows: Sequence[Sequence[object]], mark: str = ",", end: str = "\n") -> str:
    """Text of a file with a separator and a line break."""
    texts = [mark.join(str(cell) for cell in row) for row in rows]
    return end.join([*([header] if header else []), *texts]) + end


def stamp(bar: SampleBar, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    return bar.at.strftime(form)


def german(value: float, decimals: int = 2) -> str:
    """42.256,42"""
    return f"{value:,.{decimals}f}".translate(str.maketrans(",.", ".,"))


def zipped(members: dict[str, bytes | str], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def frame(bars: Sequence[SampleBar], time: str = "timestamp") -> pl.DataFrame:
    columns = dict(
        zip(("open", "high", "low", "close", "volume"), zip(*(bar.values for bar in bars), strict=True), strict=True)
    )
    return pl.DataFrame({time: pl.Series([bar.at for bar in bars], dtype=pl.Datetime("us", "UTC")), **columns})


def _columnar(
    write: Callable[[pl.DataFrame, io.BytesIO], object], time: str = "timestamp"
) -> Callable[[list[SampleBar]], bytes]:
    def content(bars: list[SampleBar]) -> bytes:
        target = io.BytesIO()
        write(frame(bars, time), target)
        return target.getvalue()

    return content


def _kline(bar: SampleBar, unit: int = 1000) -> list[object]:
    start = bar.seconds * unit
    rest = [start + 60 * unit - 1, f"{bar.volume * bar.close:.8f}", 57, "1.0", "42000.0", 0]
    return [start, *(f"{value:.8f}" for value in bar.values), *rest]


HEADER = "timestamp,open,high,low,close,volume"
Content = Callable[[list[SampleBar]], bytes | str]

#: File name and content of each format, for BTC.
FORMATS: dict[str, tuple[str, Content]] = {
    "plain CSV": ("btc.csv", lambda bars: lines(HEADER, [(stamp(b), *b.values) for b in bars])),
    "Binance klines in ms": ("BTCUSDT-1m-2024-01.csv", lambda bars: lines("", [_kline(b) for b in bars])),
    "Binance klines in us": ("BTCUSDT-1m-2025-01.csv", lambda bars: lines("", [_kline(b, 10**6) for b in bars])),
    "Binance klines, ms then us": (
        "BTCUSDT-1m.csv",
        lambda bars: lines("", [_kline(b, 1000 if at < 100 else 10**6) for at, b in enumerate(bars)]),
    ),
    "Binance klines with a header": (
        "BTCUSDT-1m-2024-01-02.csv",
        lambda bars: lines(
            "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore",
            [_kline(b) for b in bars],
        ),
    ),
    "Binance monthly zip": (
        "BTCUSDT-1m-2024-01.zip",
        lambda bars: zipped({"BTCUSDT-1m-2024-01.csv": lines("", [_kline(b) for b in bars])}),
    ),
    "Kraken OHLCVT": (
        "XBTUSD_1.csv",
        lambda bars: lines("", [(b.seconds, *b.values, 12) for b in bars]),
    ),
    "Kraken archive": (
        "Kraken_OHLCVT.zip",
        lambda bars: zipped(
            {
                "XBTUSD_1.csv": lines("", [(b.seconds, *b.values, 12) for b in bars]),
                "XBTUSD_60.csv": lines("", [(b.seconds, *b.values, 12) for b in bars[::60]]),
                "ETHUSD_1.csv": lines("", [(b.seconds, *(v / 20 for v in b.values), 12) for b in bars]),
            }
        ),
    ),
    "Kraken candles": (
        "XBTUSD.csv",
        lambda bars: lines("", [(b.seconds, *b.values[:4], b.close, b.volume, 9) for b in bars]),
    ),
    "Coinbase candles": (
        "coinbase.csv",
        lambda bars: lines("", [(b.seconds, b.low, b.high, b.open, b.close, b.volume) for b in reversed(bars)]),
    ),
    "Coinbase candles with a header": (
        "BTC-USD.csv",
        lambda bars: lines(
            "time,low,high,open,close,volume",
            [(b.seconds, b.low, b.high, b.open, b.close, b.volume) for b in reversed(bars)],
        ),
    ),
    "CryptoDataDownload": (
        "Binance_BTCUSDT_minute.csv",
        lambda bars: (
            "https://www.CryptoDataDownload.com\n"
            + lines(
                "unix,date,symbol,open,high,low,close,Volume BTC,Volume USDT,tradecount",
                [
                    (
                        b.seconds * (1000 if at % 2 else 1),
                        stamp(b),
                        "BTC/USDT",
                        *b.values,
                        round(b.volume * b.close, 2),
                        65,
                    )
                    for at, b in reversed(list(enumerate(bars)))
                ],
            )
        ),
    ),
    "Bitstamp": (
        "Bitstamp_BTCUSD_2024_minute.csv",
        lambda bars: (
            "https://www.CryptoDataDownload.com\n"
            + lines(
                "unix,date,symbol,open,high,low,close,Volume BTC,Volume USD",
                [(b.seconds, stamp(b), "BTC/USD", *b.values, round(b.volume * b.close, 2)) for b in reversed(bars)],
            )
        ),
    ),
    "Kaggle Bitstamp": (
        "bitstampUSD_1-min_data_2012-01-01_to_2021-03-31.csv",
        lambda bars: lines(
            "Timestamp,Open,High,Low,Close,Volume_(BTC),Volume_(Currency),Weighted_Price",
            [
                row
                for b in bars
                for row in ((b.seconds - 86_400, *["NaN"] * 7), (b.seconds, *b.values, b.volume * b.close, b.close))
            ],
        ),
    ),
    "Gemini": (
        "gemini_BTCUSD_2024_1min.csv",
        lambda bars: (
            "https://www.CryptoDataDownload.com\n"
            + lines(
                "Unix Timestamp,Date,Symbol,Open,High,Low,Close,Volume",
                [(b.seconds * 1000, stamp(b), "BTCUSD", *b.values) for b in reversed(bars)],
            )
        ),
    ),
    "Bitfinex candles": (
        "bitfinex_tBTCUSD_1m.csv",
        lambda bars: lines("", [(b.seconds * 1000, b.open, b.close, b.high, b.low, b.volume) for b in reversed(bars)]),
    ),
    "LEAN": (
        "20240102_trade.zip",
        lambda bars: zipped(
            {
                "20240102_btcusd_minute_trade.csv": lines(
                    "", [((b.seconds - int(FIRST.timestamp())) * 1000, *b.values) for b in bars]
                )
            }
        ),
    ),
    "MetaTrader": (
        "BTCUSD_M1_202401020000_202401020359.csv",
        lambda bars: lines(
            "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>",
            [(stamp(b, "%Y.%m.%d"), stamp(b, "%H:%M:%S"), *b.values[:4], 77, b.volume, 12) for b in bars],
            "\t",
            "\r\n",
        ).encode("utf-16"),
    ),
    "MetaTrader 4": (
        "BTCUSD1.csv",
        lambda bars: lines("", [(stamp(b, "%Y.%m.%d"), stamp(b, "%H:%M"), *b.values) for b in bars], end="\r\n"),
    ),
    "TradingView": (
        "COINBASE_BTCUSD, 1.csv",
        lambda bars: lines("time,open,high,low,close,Volume", [(b.at.isoformat(), *b.values) for b in bars]),
    ),
    "TradingView in seconds": (
        "COINBASE_BTCUSD, 1_5c3d2.csv",
        lambda bars: lines("time,open,high,low,close,Volume", [(b.seconds, *b.values) for b in bars]),
    ),
    "yfinance": (
        "BTC-USD.csv",
        lambda bars: (
            "Price,Close,High,Low,Open,Volume\nTicker,BTC-USD,BTC-USD,BTC-USD,BTC-USD,BTC-USD\nDatetime,,,,,\n"
            + lines(
                "",
                [
                    (
                        (b.at - 5 * timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S-05:00"),
                        *(float(np.float32(value)) for value in (b.close, b.high, b.low, b.open)),
                        b.volume,
                    )
                    for b in bars
                ],
            )
        ),
    ),
    "yfinance, one header line": (
        "btc_yahoo.csv",
        lambda bars: lines(
            "Datetime,Open,High,Low,Close,Adj Close,Volume",
            [(stamp(b) + "+00:00", *(float(np.float32(v)) for v in (*b.values[:4], b.close)), b.volume) for b in bars],
        ),
    ),
    "freqtrade Feather": ("BTC_USDT-1m.feather", _columnar(lambda f, t: f.write_ipc(t, compression="lz4"), "date")),
    "freqtrade JSON": (
        "BTC_USDT-1m.json",
        lambda bars: json.dumps([[b.seconds * 1000, *b.values] for b in bars]),
    ),
    "FirstRate": ("BTC_1min.txt", lambda bars: lines("", [(stamp(b), *b.values) for b in bars])),
    "FirstRate, date and time": (
        "BTC_full_1min.txt",
        lambda bars: lines("", [(stamp(b, "%m/%d/%Y"), stamp(b, "%H:%M"), *b.values) for b in bars]),
    ),
    "JSON lines of objects": (
        "btc.jsonl",
        lambda bars: lines(
            "",
            [(json.dumps(dict(zip(HEADER.split(","), (b.at.isoformat(), *b.values), strict=True))),) for b in bars],
        ),
    ),
    "JSON lines of arrays": (
        "btc.ndjson",
        lambda bars: lines("", [(json.dumps([b.seconds, *b.values]),) for b in bars]),
    ),
    "JSON arrays with texts": (
        "btc_texts.json",
        lambda bars: json.dumps([[b.at.isoformat(), *b.values] for b in bars]),
    ),
    "Parquet": ("btc.parquet", _columnar(lambda f, t: f.write_parquet(t))),
    "Parquet of float32": (
        "btc32.parquet",
        _columnar(lambda f, t: f.cast({pl.Float64: pl.Float32}).write_parquet(t)),
    ),
    "gzip": ("btc.csv.gz", lambda bars: gzip.compress(lines(HEADER, [(stamp(b), *b.values) for b in bars]).encode())),
    "zstd": (
        "btc.csv.zst",
        lambda bars: zstandard.compress(lines(HEADER, [(stamp(b), *b.values) for b in bars]).encode()),
    ),
    "byte-order mark and CRLF": (
        "btc.csv",
        lambda bars: "\ufeff" + lines(HEADER, [(stamp(b), *b.values) for b in bars], end="\r\n"),
    ),
    "UTF-16 without a mark": (
        "btc.csv",
        lambda bars: lines(HEADER, [(stamp(b), *b.values) for b in bars]).encode("utf-16-le"),
    ),
    "semicolons and decimal commas": (
        "btc.csv",
        lambda bars: lines(
            HEADER.replace(",", ";"),
            [(stamp(b, "%d.%m.%Y %H:%M"), *(str(v).replace(".", ",") for v in b.values)) for b in bars],
            ";",
        ),
    ),
    "German thousands": (
        "btc.csv",
        lambda bars: lines(
            HEADER.replace(",", ";"),
            [(stamp(b), *(german(v) for v in b.values[:4]), german(b.volume, 5)) for b in bars],
            ";",
        ),
    ),
    "Swiss thousands": (
        "btc.csv",
        lambda bars: lines(
            HEADER.replace(",", ";"),
            [(stamp(b), *(f"{v:,.5f}".replace(",", "'") for v in b.values)) for b in bars],
            ";",
        ),
    ),
    "French thousands": (
        "btc.csv",
        lambda bars: lines(
            HEADER.replace(",", ";"),
            [(stamp(b), *(f"{v:,.5f}".replace(",", "\u202f").replace(".", ",") for v in b.values)) for b in bars],
            ";",
        ),
    ),
    "quoted thousands": (
        "btc.csv",
        lambda bars: lines(
            '"Date","Open","High","Low","Close","Volume"',
            [(f'"{stamp(b)}"', *(f'"{v:,.5f}"' for v in b.values)) for b in bars],
        ),
    ),
    "American dates": (
        "btc.csv",
        lambda bars: lines(HEADER, [(stamp(b, "%m/%d/%Y %I:%M:%S %p"), *b.values) for b in bars]),
    ),
    "shuffled rows": (
        "btc.csv",
        lambda bars: lines(
            HEADER, [(stamp(bars[at]), *bars[at].values) for at in np.random.default_rng(3).permutation(len(bars))]
        ),
    ),
    "rows doubled": (
        "btc.csv",
        lambda bars: lines(HEADER, [row for b in bars for row in [(stamp(b), *b.values)] * 2]),
    ),
}


def write_format(folder: Path, name: str, bars: list[SampleBar]) -> Path:
    """Write bars in one of FORMATS and return the file."""
    file_name, content = FORMATS[name]
    data = content(bars)
    path = folder / file_name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path
