"""What price files look like: column names, headerless formats, time notations, file names.

A new format is a declaration here: a name for a column, a `Format` of a file without a header, or a `TimeNotation`.
"""

import re
from dataclasses import dataclass

#: Columns of a bar, in the order in which they are stored.
BAR_COLUMNS = ("opened", "open", "high", "low", "close", "volume")
PRICES = BAR_COLUMNS[1:5]

#: Header names of each column, the preferred one first, as `normalized` returns them. A volume's name may end in the
#: symbol (`Volume BTC`, `Volume_(BTC)`).
COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "opened": (
        "open_time",
        "opentime",
        "opened_at",
        "window_start",
        "start_time",
        "startedat",
        "time_period_start",
        "start",
        "unix",
        "unix_timestamp",
        "timestamp",
        "timestamp_ms",
        "timestamp_us",
        "timestamp_utc",
        "datetime_utc",
        "time_utc",
        "date_utc",
        "ts",
        "mts",
        "time",
        "datetime",
        "date_time",
        "date",
        "gmt_time",
        "t",
        "index_level_0",
    ),
    "open": ("open", "o", "open_price", "price_open"),
    "high": ("high", "h", "high_price", "price_high"),
    "low": ("low", "l", "low_price", "price_low"),
    "close": ("close", "c", "close_price", "price_close"),
    "volume": ("base_volume", "volume_base_ccy", "volume_traded", "volume", "vol", "v", "tickvol"),
}
#: Names of a column that identifies the asset of a row.
SYMBOL_COLUMNS = ("symbol", "ticker", "pair", "asset", "asset_id", "instrument", "market", "product_id", "coin", "base")
DATE_COLUMN, CLOCK_COLUMN = "date", "time"


@dataclass(frozen=True)
class Format:
    """A file without a header: its columns in order, `_` for a column that is not read.

    `date_in_name`: times are milliseconds since midnight of the day in the file's name.
    """

    name: str
    columns: tuple[str, ...]
    date_in_name: bool = False


#: Formats with the same number of columns are told apart by the bars: high is the highest, low the lowest price.
HEADERLESS = (
    Format("time, open, high, low, close, volume", ("opened", "open", "high", "low", "close", "volume")),
    Format("Coinbase candles", ("opened", "low", "high", "open", "close", "volume")),
    Format("Bitfinex candles", ("opened", "open", "close", "high", "low", "volume")),
    Format("LEAN trade bars", ("opened", "open", "high", "low", "close", "volume"), date_in_name=True),
    Format("Kraken OHLCVT", ("opened", "open", "high", "low", "close", "volume", "_")),
    Format("date, time, open, high, low, close, volume", ("date", "time", "open", "high", "low", "close", "volume")),
    Format("Kraken candles", ("opened", "open", "high", "low", "close", "_", "volume", "_")),
    Format("Binance klines", ("opened", "open", "high", "low", "close", "volume", "_", "_", "_", "_", "_", "_")),
)

#: Formats with a header, for the name that is shown: all of these columns are present. The first that fits is shown.
NAMED_HEADERS = (
    ("MetaTrader export", {"date", "time", "tickvol", "spread"}),
    ("CryptoDataDownload", {"unix", "date", "symbol", "open"}),
    ("Gemini", {"unix_timestamp", "date", "symbol", "open"}),
    ("Kaggle Bitstamp", {"timestamp", "volume_currency", "weighted_price"}),
    ("Binance klines", {"open_time", "close_time", "count"}),
    ("Yahoo Finance", {"datetime", "adj_close"}),
)


@dataclass(frozen=True)
class TimeNotation:
    """A way to write a time as text. `formats`: strptime formats, tried in order; none for what DuckDB casts itself.

    `ambiguous_with`: the notation with the same shape and another order of day and month.
    """

    name: str
    shape: re.Pattern[str]
    formats: tuple[str, ...] = ()
    ambiguous_with: str | None = None
    has_offset: bool = False


_CLOCK = r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?"
_OFFSET = r"\s?(Z|UTC|GMT|[+-]\d{2}(:?\d{2})?)"


def _notation(name: str, date: str, day: str, *, twelve_hours: bool = False, other: str | None = None) -> TimeNotation:
    clocks = ("%I:%M:%S %p", "%I:%M %p") if twelve_hours else ("%H:%M:%S", "%H:%M:%S.%g", "%H:%M")
    shape = rf"{date}[ T]{_CLOCK}" + (r"\s[AaPp][Mm]" if twelve_hours else "")
    return TimeNotation(name, re.compile(shape), tuple(f"{day} {clock}" for clock in clocks), other)


_SLASHED = r"\d{1,2}/\d{1,2}/\d{4}"
NOTATIONS = (
    TimeNotation("ISO 8601 with offset", re.compile(rf"\d{{4}}-\d\d?-\d\d?[ T]{_CLOCK}{_OFFSET}"), has_offset=True),
    TimeNotation("ISO 8601", re.compile(rf"\d{{4}}-\d\d?-\d\d?([ T]{_CLOCK})?")),
    _notation("year.month.day", r"\d{4}\.\d\d?\.\d\d?", "%Y.%m.%d"),
    _notation("year/month/day", r"\d{4}/\d\d?/\d\d?", "%Y/%m/%d"),
    _notation("yearmonthday", r"\d{8}", "%Y%m%d"),
    _notation("day.month.year", r"\d\d?\.\d\d?\.\d{4}", "%d.%m.%Y"),
    _notation("month/day/year", _SLASHED, "%m/%d/%Y", other="day/month/year"),
    _notation("day/month/year", _SLASHED, "%d/%m/%Y", other="month/day/year"),
    _notation("month/day/year", _SLASHED, "%m/%d/%Y", twelve_hours=True, other="day/month/year"),
    _notation("day/month/year", _SLASHED, "%d/%m/%Y", twelve_hours=True, other="month/day/year"),
)

#: Text of a missing number.
MISSING = ("", "#N/A", "<NA>", "\\N", "NaN", "nan", "NAN", "null", "NULL", "None", "none", "NA", "N/A", "n/a", "-")

#: Currencies that count as USD.
DOLLARS = ("USDT", "USDC", "BUSD", "TUSD", "FDUSD", "USDP", "GUSD", "PYUSD", "DAI", "ZUSD", "USD")
OTHER_QUOTES = (
    *("EUR", "GBP", "JPY", "KRW", "AUD", "CAD", "CHF", "BRL", "TRY", "INR", "UAH", "PLN", "MXN", "RUB", "NGN", "ZAR"),
    *("IDR", "SGD", "HKD", "SEK", "NOK", "DKK", "CZK", "ARS", "THB", "CNY", "NZD", "BTC", "XBT", "ETH", "BNB"),
)
#: Names of exchanges that stand before a currency in file names.
EXCHANGES = (
    "BINANCE",
    "BITSTAMP",
    "BITMEX",
    "BITGET",
    "BYBIT",
    "COINBASE",
    "GEMINI",
    "HUOBI",
    "KRAKEN",
    "KUCOIN",
    "OKX",
)
#: Exchanges' own names of symbols.
ALIASES = {"XBT": "BTC", "XXBT": "BTC", "XETH": "ETH", "XDG": "DOGE", "XXDG": "DOGE", "XXRP": "XRP", "XLTC": "LTC"}
#: Symbols that a file's name may contain without a currency. Words such as LINK or NEAR would be misread.
COINS = (
    *("BTC", "ETH", "SOL", "XRP", "DOGE", "ADA", "LTC", "BNB", "BCH", "AVAX", "SHIB", "TRX", "XLM", "XMR", "ETC"),
    *("HBAR", "PEPE", "BITCOIN", "ETHEREUM", "SOLANA", "DOGECOIN", "LITECOIN", "RIPPLE", "CARDANO"),
)
COIN_OF_WORD = {
    "BITCOIN": "BTC",
    "ETHEREUM": "ETH",
    "SOLANA": "SOL",
    "DOGECOIN": "DOGE",
    "LITECOIN": "LTC",
    "RIPPLE": "XRP",
    "CARDANO": "ADA",
}


def normalized(name: object) -> str:
    """A column's name in lower case, with `_` for each run of other characters than letters and digits."""
    return re.sub(r"[^a-z0-9]+", "_", str(name).lower()).strip("_")


#: Intervals of bars that a name may state; others are periods, as in `btc_30d.csv`.
INTERVALS = (1, 2, 3, 5, 10, 15, 30, 60, 120, 240, 360, 480, 720)


@dataclass(frozen=True)
class Pair:
    """A symbol and, where it is named, the currency of its prices."""

    symbol: str
    quote: str | None

    @property
    def in_dollars(self) -> bool:
        """Whether prices are in USD or a stable coin of it, as far as the name tells."""
        return self.quote is None or self.quote in DOLLARS

    def __str__(self) -> str:
        return self.symbol if self.quote is None else f"{self.symbol}/{self.quote}"


def pair_of(text: str) -> Pair | None:
    """The pair that a value such as `BTC/USDT`, `tBTCUSD`, `XBTUSD` or `btc` names; None for other text."""
    exchange, colon, rest = re.sub(r"^t(?=[A-Z])", "", text.strip()).partition(":")
    named = (
        rest if colon and rest.upper() not in (*DOLLARS, *OTHER_QUOTES) else exchange
    )  # BINANCE:BTCUSDT, BTC/USDT:USDT
    compact = re.sub(r"[^A-Z0-9]", "", named.upper())
    splits = [(compact.removesuffix(quote), quote) for quote in (*DOLLARS, *OTHER_QUOTES) if compact.endswith(quote)]
    pairs = [Pair(_symbol(base), quote) for base, quote in splits if 2 <= len(base) <= 10 and not base.isdigit()]
    if pairs:
        return next((pair for pair in pairs if pair.symbol in COINS), pairs[0])
    return Pair(_symbol(compact), None) if re.fullmatch(r"[A-Z][A-Z0-9]{1,9}", compact) else None


def pairs_in_name(name: str, known: tuple[str, ...] = ()) -> list[Pair]:
    """The pairs that a file's name contains; `known`: configured symbols, which need no currency beside them."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", re.sub(r"(\.[A-Za-z0-9]{1,8})+$", "", name)) if word]
    found, at = [], 0
    while at < len(words):
        quoted = at + 1 < len(words) and words[at + 1].upper() in (*DOLLARS, *OTHER_QUOTES)
        pair = _pair_of_word(words[at], known)
        in_dollars = quoted and words[at + 1] in DOLLARS  # LINK_USDT, in capitals: `data_usd` names no coin
        if pair is None and in_dollars and re.fullmatch(r"[A-Z0-9]{2,6}", words[at]) and words[at] not in EXCHANGES:
            pair = Pair(_symbol(words[at].upper()), None)
        if pair is not None:
            joined = quoted and pair.quote is None
            found.append(Pair(pair.symbol, words[at + 1].upper()) if joined else pair)
            at += joined
        at += 1
    return found


def _pair_of_word(word: str, known: tuple[str, ...]) -> Pair | None:
    pair = pair_of(word)
    if pair is None:
        return None
    symbol = COIN_OF_WORD.get(pair.symbol, pair.symbol)
    # Longer words with a currency are names of exchanges, such as bitstampUSD.
    is_short = 3 <= len(symbol) <= 5 or symbol[0].isdigit()  # 1000SHIBUSDT
    recognized = symbol in {*COINS, *known} or (pair.quote is not None and is_short and symbol not in EXCHANGES)
    return Pair(symbol, pair.quote) if recognized else None


def interval_in_name(name: str) -> int | None:
    """The bars' minutes that a file's name states, as `XBTUSD_60.csv`, `BTCUSDT-1h-2024-01.csv` or `BTC_USDT-5m`."""
    stem = re.sub(r"(\.[A-Za-z0-9]{1,8})+$", "", name)
    if kraken := re.fullmatch(r"[A-Z0-9]{5,12}_(1|5|15|30|60|240|720|1440)", stem):
        return int(kraken[1])
    if chart := re.search(r", (\d{1,4})$", stem):  # TradingView: `COINBASE_BTCUSD, 60`
        return int(chart[1])
    minutes = {"M": 1, "H": 60, "D": 1440}
    if metatrader := re.search(r"[-_](M|H|D)(\d{1,2})(?:$|[-_])", stem):
        return int(metatrader[2]) * minutes[metatrader[1]]
    units = re.findall(r"(?:^|(?<=[-_ ]))(\d{1,3})[ -]?(m|min|minute|h|hour|d|day)(?=$|[-_ ])", stem, re.IGNORECASE)
    found = [int(count) * minutes[unit[0].upper()] for count, unit in units]
    return next((interval for interval in found if interval in INTERVALS), None) if 1 not in found else 1


def day_in_name(name: str) -> str | None:
    """The day, as `2024-01-02`, at the start of a LEAN file's name such as `20240102_btcusd_minute_trade.csv`."""
    found = re.match(r"(\d{4})(\d{2})(\d{2})_(?:\w+_)?trade\b", name)
    return "-".join(found.groups()) if found else None


def _symbol(base: str) -> str:
    return ALIASES.get(base, base)
