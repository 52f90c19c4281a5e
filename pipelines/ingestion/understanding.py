"""What a price file was understood as, and the reasons to refuse it whole.

A bar that is stored wrong is worse than a missing one. So a file is refused when its rows contradict its columns, its
name or each other; single damaged rows are quarantined.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb
import numpy as np

from pipelines.domain.prices import local_time, series_checks
from pipelines.domain.prices.bars import Floats, Ints, instant_of_minute
from pipelines.errors import PriceFileError
from pipelines.ingestion.formats import COIN_OF_WORD, COINS, Pair, pair_of, pairs_in_name
from pipelines.ingestion.reading import Reading, distinct_symbols, only_row
from pipelines.ingestion.unpacking import PriceFile
from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)

#: Reasons for quarantining a row.
REASONS = {
    "malformed": "the row does not have the file's columns",
    "bad_time": "the time cannot be parsed, or does not exist on the named clock",
    "implausible_time": "the time is before 2009 or after 2100, which suggests another unit or notation",
    "out_of_sequence": "the time is outside that of the rows around it, in a file that is otherwise sorted",
    "future": "the minute has not started",
    "still_forming": "the minute has not ended",
    "off_minute": "the time is not the start of a minute",
    "not_a_number": "a price or the volume is missing, NaN, infinite or not a number",
    "not_positive": "a price is zero or negative, or the volume negative",
    "bad_ohlc": "high is below, or low is above, another price of the bar",
    "too_large": "the price or volume is implausibly large",
    "too_many_decimals": "the price has more than 8 decimals, and rounding would change it by more than a millionth",
    "duplicate": "the last bar of a file, which another file has finished",
}
#: Rows that are neither stored nor quarantined: minutes without trades, repeated rows, bars of archived months.
UNCOUNTED = ("absent", "repeated", "archived")
#: A file of which more than this share, and more than one row, is refused for one reason is refused whole.
MAX_REFUSED_SHARE = 0.01
#: One bar may be in the future by a damaged digit; more mean that the clock is ahead of UTC.
MAX_FUTURE_ROWS = 1
#: Mean of log(high / low) of one-minute bars; it is 0.0008 in five years of BTC.
MAX_MEAN_RANGE = 0.25
UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
REMEDIES = {
    "future": "The file's clock may be ahead of UTC: name it with --time-zone",
    "off_minute": "Bars must begin on the minute; times of a bar's end, or bars of seconds, cannot be used",
    "bad_ohlc": "The columns may be in another order, or belong to another header",
    "bad_time": "Write ISO 8601 or numbers since 1970",
}


@dataclass(frozen=True)
class FileSummary:
    """What a file was understood as. Times are aware UTC.

    `rows` = bars + absent + repeated + the refused rows. `rounded`: bars whose prices lost noise beyond their digits.
    `gaps`: minutes missing between the first and the last bar.
    """

    name: str
    format: str
    columns: str
    times: str
    time_zone: str
    interval_minutes: int
    symbol: str
    rows: int
    bars: int
    absent: int
    repeated: int
    rounded: int
    refused: dict[str, int]
    first_bar: datetime | None
    last_bar: datetime | None
    gaps: int


@dataclass(frozen=True)
class Expectation:
    """What the user says about files: the symbol, the time zone of local times, and that a name may mislead.

    `known_symbols`: configured symbols, recognized in file names.
    """

    symbol: str
    time_zone: str | None = None
    accept_symbol: bool = False
    known_symbols: tuple[str, ...] = ()


def names_other_symbol(file: PriceFile, expected: Expectation) -> str | None:
    """What a file's name names instead of the expected symbol; None when it names it, or nothing."""
    return None if expected.accept_symbol else _other(_pairs_of_name(file, expected), expected.symbol)


def check_symbol(
    connection: duckdb.DuckDBPyConnection, file: PriceFile, reading: Reading, expected: Expectation
) -> str:
    """Raise PriceFileError when columns or values name another symbol; return where the symbol was found."""
    values = distinct_symbols(connection) if reading.has_symbol else []
    if len(values) > 1:
        raise refusal(file.name, f"it has rows of several assets: {', '.join(values)}", "Write one file for each asset")
    if expected.accept_symbol:
        return f"{expected.symbol} (as told)"
    stated = [*reading.layout.pairs, *_known_pairs(values, expected)]
    if other := _other(stated, expected.symbol):
        raise refusal(
            file.name,
            f"its columns are of {other}, not {expected.symbol} in USD",
            f"Ingest it for {other}, or add --accept-symbol if they mislead",
        )
    if stated:
        return f"{expected.symbol} (column)"
    named = _pairs_of_name(file, expected)
    return f"{expected.symbol} (name)" if named else f"{expected.symbol} (as told)"


def _pairs_of_name(file: PriceFile, expected: Expectation) -> list[Pair]:
    """Pairs in the names of a file, its folders within an archive, and the archive."""
    return [pair for part in file.name.split("/") for pair in pairs_in_name(part, expected.known_symbols)]


def _known_pairs(values: Sequence[str], expected: Expectation) -> list[Pair]:
    """Pairs that values of a column name; other values, such as an exchange's name, are ignored."""
    pairs = [pair for value in values if (pair := pair_of(value)) is not None]
    coins = {*COINS, *expected.known_symbols, expected.symbol}
    named = [Pair(COIN_OF_WORD.get(pair.symbol, pair.symbol), pair.quote) for pair in pairs]
    return [pair for pair in named if pair.quote is not None or pair.symbol in coins]


def _other(pairs: Sequence[Pair], symbol: str) -> str | None:
    """The first pair that is not the symbol in USD."""
    return next((str(pair) for pair in pairs if pair.symbol != symbol or not pair.in_dollars), None)


def refusal(name: str, seen: str, remedy: str) -> PriceFileError:
    """The error that refuses a file whole."""
    return PriceFileError(f"{name}: {seen}; nothing was stored. {remedy}")


def summarize_file(
    connection: duckdb.DuckDBPyConnection,
    index: int,
    file: PriceFile,
    reading: Reading,
    symbol_source: str,
    expected: Expectation,
) -> FileSummary:
    """Check the inserted rows of a file against each other and summarize them.

    Converts local times, marks single rows that are out of sequence and repeated rows, and rounds noise. Raises
    PriceFileError for a file that has to be refused whole.
    """
    if reading.time.is_local and expected.time_zone is not None:
        _move_to_utc(connection, index, file, expected.time_zone)
    series = _series(connection, index)
    is_slashed = any(notation.ambiguous_with for notation in reading.time.notations)
    if is_slashed and not any((sign * np.diff(series.minutes) >= 0).all() for sign in (1, -1)):
        raise refusal(
            file.name,
            f"its times, read as {reading.time.describe()}, are not in order; some may have day and month swapped",
            "Write ISO 8601, for example 2024-01-02 00:00:00",
        )
    stray = series_checks.out_of_sequence(series.minutes)
    if len(stray):
        _refuse(connection, "out_of_sequence", series.positions[stray])
        series = _series(connection, index)
    _check_shares(connection, index, file)
    rounded, mean_range = round_prices(connection, index)
    if mean_range > MAX_MEAN_RANGE and len(series.minutes) >= series_checks.MIN_BARS:
        raise refusal(
            file.name,
            f"high is {math.exp(mean_range):.3g} times low on average",
            "A column may hold something else than its name says, such as the volume",
        )
    zone_is_assumed = reading.time.is_local and expected.time_zone is None
    if not (np.diff(series.minutes) > 0).all():
        _check_repeated(connection, index, file, series.minutes, zone_is_assumed=zone_is_assumed)
        series = _series(connection, index).sorted()
    reasons = _check_shares(connection, index, file)
    _check_series(file, series, zone_is_assumed=zone_is_assumed)
    minutes = series.minutes
    zone = expected.time_zone if reading.time.is_local and expected.time_zone else "UTC"
    units = [UNITS[unit] for (unit,) in connection.execute(SQL["file_units"], [index]).fetchall()]
    span = int(minutes[-1] - minutes[0]) + 1 if len(minutes) else 0
    return FileSummary(
        name=file.name,
        format=reading.format,
        columns=", ".join(_column_order(reading)),
        times=reading.time.describe() + (" in " + " and ".join(units) if units else ""),
        time_zone=f"{zone}, assumed" if zone_is_assumed else zone,
        interval_minutes=1,
        symbol=symbol_source,
        rows=sum(reasons.values()) + len(minutes),
        bars=len(minutes),
        absent=reasons.pop("absent", 0),
        repeated=reasons.pop("repeated", 0),
        rounded=rounded,
        refused=reasons,
        first_bar=instant_of_minute(int(minutes[0])) if len(minutes) else None,
        last_bar=instant_of_minute(int(minutes[-1])) if len(minutes) else None,
        gaps=span - len(minutes),
    )


def _column_order(reading: Reading) -> list[str]:
    positions = reading.layout.positions[reading.layout.formats.index(reading.format)]
    return [{"opened": "time"}.get(role, role) for role in sorted(positions, key=positions.__getitem__)]


@dataclass(frozen=True)
class _Series:
    """A file's accepted rows: positions, minutes since 1970, opens and closes in USD."""

    positions: Ints
    minutes: Ints
    opens: Floats
    closes: Floats

    def sorted(self) -> "_Series":
        """By minute."""
        order = np.argsort(self.minutes, kind="stable")
        return _Series(self.positions[order], self.minutes[order], self.opens[order], self.closes[order])


def _series(connection: duckdb.DuckDBPyConnection, index: int) -> _Series:
    """In the order of the file."""
    columns = connection.execute(SQL["file_series"], [index]).fetchnumpy()
    minutes = columns["minute"].astype(np.int64)
    return _Series(columns["position"].astype(np.int64), minutes, columns["open"], columns["close"])


def _refuse(connection: duckdb.DuckDBPyConnection, reason: str, positions: Ints) -> None:
    if len(positions):
        connection.execute(SQL["refuse_rows"], {"reason": reason, "positions": positions.tolist()})


def _check_shares(connection: duckdb.DuckDBPyConnection, index: int, file: PriceFile) -> dict[str, int]:
    """Number of rows by reason; raises PriceFileError when one reason is more than a stray row."""
    reasons: dict[str | None, int] = dict(connection.execute(SQL["file_reasons"], [index]).fetchall())
    accepted = reasons.pop(None, 0)
    refused = {str(reason): count for reason, count in sorted(reasons.items(), key=lambda each: -each[1])}
    rows = accepted + sum(count for reason, count in refused.items() if reason not in UNCOUNTED)
    for reason, count in refused.items():
        limit = MAX_FUTURE_ROWS if reason == "future" else max(1, MAX_REFUSED_SHARE * rows)
        if reason not in UNCOUNTED and count > limit:
            row, raw = _first_of(connection, index, reason)
            raise refusal(
                file.name,
                f"{count:,} of {rows:,} rows are refused as {reason}: {REASONS[reason]}; the first is row {row}: {raw}",
                REMEDIES.get(
                    reason, f"Up to {MAX_REFUSED_SHARE:.0%} of the rows would be quarantined; correct the file"
                ),
            )
    if not accepted:
        seen = f"only minutes without prices ({refused['absent']:,})" if refused.get("absent") else "no usable rows"
        raise refusal(file.name, f"it holds {seen}", "Nothing can be ingested from it")
    return refused


def _first_of(connection: duckdb.DuckDBPyConnection, index: int, reason: str) -> tuple[int, str]:
    row, raw = only_row(connection, SQL["first_with_reason"], [index, reason])
    return row, str(raw)[:160]


def _move_to_utc(connection: duckdb.DuckDBPyConnection, index: int, file: PriceFile, zone: str) -> None:
    series = _series(connection, index)
    positions = series.positions
    try:
        minutes = local_time.utc_minutes(series.minutes, zone)
    except ValueError as error:
        raise PriceFileError(f"{file.name}: {error}; nothing was stored") from error
    impossible = minutes == local_time.NO_INSTANT
    if np.count_nonzero(impossible) > MAX_FUTURE_ROWS:
        raise refusal(
            file.name,
            f"{np.count_nonzero(impossible):,} rows are in an hour that {zone} skips, or repeats and the file has once",
            "Check the zone",
        )
    _refuse(connection, "bad_time", positions[impossible])
    connection.register("moved", {"position": positions[~impossible], "minute": minutes[~impossible]})
    connection.execute(SQL["move_rows"])
    connection.unregister("moved")


def round_prices(connection: duckdb.DuckDBPyConnection, index: int) -> tuple[int, float]:
    """Remove noise beyond the prices' digits.

    Returns the number of bars that changed, and the mean of log(high / low).
    """
    bars, unrounded, are_float32, mean_range = only_row(connection, SQL["price_facts"], [index])
    if are_float32:
        connection.execute(SQL["shorten_float32"], [index])
    if unrounded:
        connection.execute(SQL["refuse_too_many_decimals"], [index])
        unrounded = only_row(connection, SQL["price_facts"], [index])[1]
        connection.execute(SQL["round_prices"], [index])
    return int(bars if are_float32 else unrounded), float(mean_range)


def _check_repeated(
    connection: duckdb.DuckDBPyConnection, index: int, file: PriceFile, minutes: Ints, *, zone_is_assumed: bool
) -> None:
    """Mark rows that repeat a bar. Raises PriceFileError when bars of one minute disagree."""
    if len(np.unique(minutes)) == len(minutes):
        return
    first, count, repeated = only_row(connection, SQL["contradiction_in_file"], [index])
    if count:
        zone = local_time.repeated_hour(np.array(repeated)) if zone_is_assumed else None
        at = instant_of_minute(first)
        if zone is not None:
            raise refusal(
                file.name,
                f"the hour of {at:%Y-%m-%d %H:%M} comes twice, as on a local clock that is put back ({zone})",
                "Name its zone with --time-zone",
            )
        raise refusal(
            file.name,
            f"it has several bars that disagree for {count:,} minutes, the first at {at:%Y-%m-%d %H:%M}",
            "It may hold several assets or intervals; write one file for each",
        )
    drop_repeated(connection, index)


def drop_repeated(connection: duckdb.DuckDBPyConnection, index: int | None = None) -> None:
    """Keep the first row of each minute, of one source or of all; the others must be equal to it."""
    connection.execute(SQL["drop_repeated"], [index])


def _check_series(file: PriceFile, series: _Series, *, zone_is_assumed: bool) -> None:
    minutes = series.minutes
    interval = series_checks.interval_minutes(minutes)
    if interval != 1:
        raise refusal(file.name, f"its bars are {interval} minutes apart", "Only one-minute bars can be ingested")
    jump = series_checks.first_jump(minutes, series.opens, series.closes)
    if jump is not None:
        raise refusal(
            file.name,
            f"prices jump from {series.closes[jump]:g} to {series.opens[jump + 1]:g} after "
            f"{instant_of_minute(int(minutes[jump])):%Y-%m-%d %H:%M}",
            "It may hold several assets or units; write one file for each",
        )
    if series_checks.open_and_close_are_swapped(minutes, series.opens, series.closes):
        raise refusal(
            file.name,
            "open and close are swapped: each open is nearer to the next close than to the last one",
            "Correct the header or the order of columns",
        )
    if zone_is_assumed and (evidence := local_time.looks_local(minutes)):
        raise refusal(
            file.name,
            f"its times may be of a local clock: {evidence}",
            "Name the zone with --time-zone, UTC if it is UTC",
        )
