"""Understand a price file from its first rows: separator, header, columns, notation of numbers and times.

Nothing is guessed: a sample that fits no layout, or several that differ in meaning, raises LayoutError with what was
seen and a remedy.
"""

import csv
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from pipelines.ingestion import formats
from pipelines.ingestion.formats import BAR_COLUMNS, NOTATIONS, PRICES, Format, Pair, TimeNotation, normalized

DELIMITERS = (",", ";", "\t", "|")
#: Lines before the header or the first row, such as an address or a title.
MAX_PREAMBLE = 10
EPOCH = re.compile(r"\d{8,20}(\.\d*)?|\d\.\d+[eE]\+?\d{1,2}")
_MIDNIGHT_MS = re.compile(r"\d{1,8}")
#: Thousands separators of any notation: space, no-break spaces, apostrophes.
SPACES = " \u00a0\u202f'\u2019"
_PLAIN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_GROUPED = {
    ".": re.compile(rf"[-+]?(\d{{1,3}}([,{SPACES}]\d{{3}})+|\d+)(\.\d*)?([eE][-+]?\d+)?"),
    ",": re.compile(rf"[-+]?(\d{{1,3}}([.{SPACES}]\d{{3}})+|\d+)(,\d*)?([eE][-+]?\d+)?"),
}

Row = Sequence[str]


class LayoutError(ValueError):
    """A sample cannot be read as prices; the message says what was seen and what to do."""


@dataclass(frozen=True)
class TimeColumn:
    """How times are written. `kind`: epoch (seconds to nanoseconds since 1970), text, midnight (ms of `day`), or the
    types of columnar files: timestamp, naive timestamp.

    `notations`: the notations of text times that fit the sample; the rows decide between several.
    """

    kind: str
    notations: tuple[TimeNotation, ...] = ()
    day: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether times have no offset, so that their zone is UTC or has to be named."""
        return self.kind in {"midnight", "naive timestamp"} or any(
            not notation.has_offset for notation in self.notations
        )

    def describe(self) -> str:
        """The notation in words, for people."""
        if self.kind == "text":
            return " or ".join(notation.name for notation in self.notations)
        named = {"epoch": "numbers since 1970", "midnight": f"milliseconds since midnight of {self.day}"}
        return named.get(self.kind, f"{self.kind}s")


@dataclass(frozen=True)
class Layout:
    """Positions and notations of a file's columns.

    `formats`: what the file may be; the bars decide between several. `positions`: index of each role (BAR_COLUMNS,
    `clock` when date and time of day are two columns, `symbol`) for each format. `pairs`: named in the header.
    `decimal`: mark of decimals when numbers need more than a plain cast, otherwise None.
    """

    formats: tuple[str, ...]
    positions: tuple[dict[str, int], ...]
    width: int
    time: TimeColumn
    skip_lines: int = 0
    delimiter: str = ","
    quote: str = ""
    decimal: str | None = None
    pairs: tuple[Pair, ...] = field(default=())


def understand_lines(lines: Sequence[str], file_name: str) -> Layout:
    """The layout of a text file from its first lines, without line breaks.

    Raises LayoutError.
    """
    found, errors = [], []
    for delimiter in DELIMITERS:
        rows = list(csv.reader(lines, delimiter=delimiter))
        width = max((len(row) for row in rows if _is_header(row)), default=len(rows[0]))
        try:
            found.append(_understand_rows(rows, file_name, delimiter, any('"' in line for line in lines)))
        except LayoutError as error:
            errors.append((width, error))
    if len(found) > 1:
        marks = " and ".join(repr(layout.delimiter) for layout in found)
        raise LayoutError(f"the rows can be read with {marks} between columns; write the file with one of them")
    if not found:
        raise max(errors, key=lambda each: each[0])[1]
    return found[0]


def understand_columns(names: Sequence[str], types: Sequence[str], sample: Sequence[Row]) -> Layout:
    """The layout of a file with named columns (Parquet, Feather, JSON), their DuckDB types and the texts of some rows.

    Raises LayoutError.
    """
    positions, pairs = _map_header(names, sample)
    kind = types[positions["opened"]]
    if kind.startswith(("TIMESTAMP", "DATE")):
        time = TimeColumn("timestamp" if kind.endswith("ZONE") else "naive timestamp")
    else:
        time = _time_column(_joined_times(sample, positions))
    return Layout((_header_format(names),), (positions,), len(names), time, pairs=pairs)


def understand_values(rows: Sequence[Row], file_name: str) -> Layout:
    """The layout of rows without names. Raises LayoutError."""
    return _headerless(rows, file_name)


def time_position(names: Sequence[str], sample: Sequence[Row] = ()) -> int | None:
    """Index of the time column among named columns; None when there is none."""
    present = [normalized(name) for name in names]
    for name in formats.COLUMN_NAMES["opened"]:
        if name in present:
            return present.index(name)
    unnamed = [at for at, name in enumerate(present) if name in {"", "price", "index", "unnamed_0"}]
    return next((at for at in unnamed if sample and _is_time(sample[0][at])), None)


def _understand_rows(rows: Sequence[Row], file_name: str, delimiter: str, quoted: bool) -> Layout:
    header = next((at for at, row in enumerate(rows[: MAX_PREAMBLE + 1]) if _is_header(row)), None)
    if header is None:
        first = _first_data_row(rows)
        data = [row for row in rows[first:] if len(row) == len(rows[first])]
        layout = _headerless([[cell.strip() for cell in row] for row in data], file_name)
    else:
        names = rows[header]
        first = header + 1
        while first < len(rows) and not any(_is_number(cell.strip()) for cell in rows[first]):  # more lines of header
            first += 1
        data = [row for row in rows[first:] if len(row) == len(names)]
        if not data:
            widths = sorted({len(row) for row in rows[first:] if row})
            raise LayoutError(
                f"the header has {len(names)} columns, the rows have {widths or 'none'}; they need the same"
            )
        sample = [[cell.strip() for cell in row] for row in data]
        positions, pairs = _map_header(names, sample)
        time = _time_column(_joined_times(sample, positions))
        stated = (*pairs, *_stated_pairs(rows[:header]), *_stated_pairs(rows[header + 1 : first]))
        layout = Layout((_header_format(names),), (positions,), len(names), time, pairs=stated)
    decimal = _decimal_mark([row[layout.positions[0][name]] for row in data for name in BAR_COLUMNS[1:]], quoted)
    prices = [row[layout.positions[0][name]].strip() for row in data for name in PRICES]
    if delimiter == ";" and decimal is None and all(re.fullmatch(r"[1-9]\d{0,2}\.\d{3}", price) for price in prices):
        raise LayoutError(f"the point of {prices[0]!r} may separate decimals or thousands; write numbers without it")
    return Layout(
        layout.formats,
        layout.positions,
        layout.width,
        layout.time,
        skip_lines=first,
        delimiter=delimiter,
        quote='"' if quoted else "",
        decimal=decimal,
        pairs=layout.pairs,
    )


def _first_data_row(rows: Sequence[Row]) -> int:
    """Index of the first row that contains a bar: enough columns, and numbers (or missing ones) in most of them."""
    for at in range(min(len(rows), MAX_PREAMBLE + 1)):
        row = [cell.strip() for cell in rows[at]]
        numbers = sum(1 for cell in row if _is_number(cell))
        if numbers >= 4 and any(_is_time(cell) for cell in row):
            return at
    seen = next((row for row in rows if any(cell.strip() for cell in row)), [])
    if len(seen) < len(BAR_COLUMNS):
        raise LayoutError(
            f"the first row has {len(seen)} columns, expected at least time, open, high, low, close and volume"
        )
    if not _is_header(seen) and not any(_is_number(cell.strip()) for cell in seen):
        _map_header(seen, [])  # says which columns are missing
    raise LayoutError(
        f"no row with a time and prices among the first {len(rows)}; the first is {'|'.join(seen)[:120]!r}"
    )


def _is_header(row: Row) -> bool:
    names = {normalized(cell) for cell in row}
    return sum(1 for price in PRICES if names & set(formats.COLUMN_NAMES[price])) >= 3


def _map_header(names: Sequence[str], sample: Sequence[Row]) -> tuple[dict[str, int], tuple[Pair, ...]]:
    """Index of each role, and the symbol that the volume column is named after, if it is."""
    present: dict[str, int] = {}
    for at, name in enumerate(names):
        present.setdefault(normalized(name), at)
    positions: dict[str, int] = {}
    time = time_position(names, sample)
    if time is not None:
        positions["opened"] = time
    for role in (*PRICES, "volume"):
        column = _first_present(formats.COLUMN_NAMES[role], present)
        if column is not None:
            positions[role] = present[column]
    # DuckDB numbers the second column of a name, as in high_1.
    unnumbered = [re.sub(r"_\d+$", "", normalized(name)) for name in names]
    doubled = [name for role in PRICES for name in formats.COLUMN_NAMES[role] if unnumbered.count(name) > 1]
    if doubled:
        raise LayoutError(f"several columns are named {doubled[0]}; write one file for each asset")
    named = {
        found[1].upper(): at for name, at in present.items() if (found := re.fullmatch(r"volume_([a-z0-9]{3,5})", name))
    }
    # `Volume ETH, Volume BTC`: the base comes first, unless it is a currency.
    base = next((coin for coin in named if coin not in (*formats.DOLLARS, "QUOTE", "BASE", "ADJ")), None)
    pairs: tuple[Pair, ...] = ()
    if base is not None:
        quote = next((coin for coin in named if coin != base), None)
        pairs = (Pair(formats.ALIASES.get(base, base), quote),)
        positions["volume"] = named[base]
    missing = [role for role in BAR_COLUMNS if role not in positions]
    if missing:
        wanted = "; ".join(
            f"{'time' if role == 'opened' else role} ({', '.join(formats.COLUMN_NAMES[role][:4])}, ...)"
            for role in missing
        )
        raise LayoutError(f"no column for {wanted}; it has {', '.join(str(name).strip() for name in names)[:300]}")
    date, clock = present.get(formats.DATE_COLUMN), present.get(formats.CLOCK_COLUMN)
    if (
        time in {date, clock}
        and date is not None
        and clock is not None
        and sample
        and re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", sample[0][clock])
    ):
        positions |= {"opened": date, "clock": clock}
    asset = _first_present(formats.SYMBOL_COLUMNS, present)
    return (positions if asset is None else positions | {"symbol": present[asset]}), pairs


def _first_present(names: Sequence[str], present: Collection[str]) -> str | None:
    return next((name for name in names if name in present), None)


def _header_format(names: Sequence[str]) -> str:
    present = {normalized(name) for name in names}
    return next((name for name, needed in formats.NAMED_HEADERS if needed <= present), "columns by name")


def _stated_pairs(rows: Sequence[Row]) -> list[Pair]:
    """Pairs in the rows around the header: tickers as Yahoo Finance writes them, titles such as `Symbol: BTCEUR`."""
    texts = {cell.strip() for row in rows for cell in row if cell.strip() and "://" not in cell}
    return [pair for text in sorted(texts) for pair in formats.pairs_in_name(text)]


def _headerless(rows: Sequence[Row], file_name: str) -> Layout:
    width = len(rows[0])
    day = formats.day_in_name(file_name)
    fitting: list[tuple[Format, TimeColumn]] = []
    unreadable: LayoutError | None = None
    for each in formats.HEADERLESS:
        if len(each.columns) != width or each.date_in_name != (day is not None):
            continue
        unread = [at for at, role in enumerate(each.columns) if role == "_"]
        if any(sum(1 for row in rows if _is_number(row[at])) < len(rows) / 2 for at in unread):
            unreadable = unreadable or LayoutError(
                f"column {unread[0] + 1} of {width} holds text; add a header with names"
            )
            continue
        if each.name == "Kraken candles" and not _is_within(rows, 5, 3, 2):
            unreadable = LayoutError(f"{width} columns without a header, of unknown order; add a header with names")
            continue
        if each.date_in_name:
            if all(_MIDNIGHT_MS.fullmatch(row[0]) for row in rows):
                fitting.append((each, TimeColumn("midnight", day=day)))
            continue
        try:
            fitting.append((each, _time_column(_joined_times(rows, _positions(each)))))
        except LayoutError as error:
            unreadable = unreadable or error
    if not fitting and unreadable is not None:
        raise unreadable
    if not fitting:
        widths = sorted({len(each.columns) for each in formats.HEADERLESS})
        raise LayoutError(
            f"{width} columns without a header, expected {', '.join(map(str, widths[:-1]))} or {widths[-1]}, or a "
            "first row with the names time, open, high, low, close, volume"
        )
    return Layout(
        tuple(each.name for each, _ in fitting), tuple(_positions(each) for each, _ in fitting), width, fitting[0][1]
    )


def _is_within(rows: Sequence[Row], value: int, low: int, high: int) -> bool:
    """Whether a column lies between two others in most of the rows, as an average price does."""
    inside = 0
    for row in rows:
        with suppress(ValueError):
            inside += float(row[value]) == 0 or float(row[low]) <= float(row[value]) <= float(row[high])
    return inside >= 0.9 * len(rows)


def _positions(each: Format) -> dict[str, int]:
    found = {role: each.columns.index(role) for role in each.columns if role != "_"}
    if "date" in found:
        found |= {"opened": found.pop("date"), "clock": found.pop("time")}
    return found


def _joined_times(rows: Sequence[Row], positions: dict[str, int]) -> list[str]:
    if "clock" in positions:
        return [f"{row[positions['opened']]} {row[positions['clock']]}" for row in rows]
    return [row[positions["opened"]] for row in rows]


def _time_column(cells: Sequence[str]) -> TimeColumn:
    """The notation of most of the cells: damaged rows are refused one by one."""
    fits = [(sum(1 for cell in cells if each.shape.fullmatch(cell)), each) for each in NOTATIONS]
    best = max(count for count, _ in fits)
    epochs = sum(1 for cell in cells if EPOCH.fullmatch(cell))
    if epochs > best:
        return TimeColumn("epoch")
    fitting = [each for count, each in fits if count == best]
    if best and not any(":" in cell for cell in cells):
        raise LayoutError(
            f"the time {cells[0]!r} is a date without a time of day; only one-minute bars can be ingested"
        )
    if 2 * best < len(cells):
        raise LayoutError(
            f"the time {cells[0]!r} is written in no known way; write ISO 8601 (2024-01-02 00:00:00Z) or numbers since "
            "1970"
        )
    return TimeColumn("text", tuple(fitting))


def _is_time(cell: str) -> bool:
    midnight = _MIDNIGHT_MS.fullmatch(cell) is not None
    date_only = re.fullmatch(r"\d{4}[-./]\d\d?[-./]\d\d?|\d\d?[./]\d\d?[./]\d{4}", cell) is not None
    return midnight or date_only or bool(EPOCH.fullmatch(cell)) or any(each.shape.fullmatch(cell) for each in NOTATIONS)


def _is_number(cell: str) -> bool:
    return cell in formats.MISSING[1:] or bool(
        _PLAIN.fullmatch(cell) or any(p.fullmatch(cell) for p in _GROUPED.values())
    )


def _decimal_mark(cells: Sequence[str], quoted: bool) -> str | None:
    """The decimal mark when numbers need more than a plain cast, otherwise None. Raises LayoutError when in doubt."""
    texts = [cell.strip() for cell in cells]
    unusual = sum(1 for text in texts if text not in formats.MISSING and not _PLAIN.fullmatch(text))
    if unusual < 0.1 * len(texts):  # damaged cells, not a notation: they are refused one by one
        return "." if quoted else None
    commas = [text for text in texts if "," in text]
    if not commas:
        dotted = [text for text in texts if "." in text]
        if any(text.count(".") > 1 for text in dotted):
            return ","
        is_grouped = any(not _PLAIN.fullmatch(text) and _GROUPED["."].fullmatch(text) for text in texts)
        return "." if quoted or is_grouped else None
    if any("." in text for text in commas):
        marks = {"." if text.rindex(".") > text.rindex(",") else "," for text in commas if "." in text}
    elif any(text.count(",") > 1 for text in commas):
        marks = {"."}
    elif any(not re.fullmatch(r"[1-9]\d{0,2},\d{3}", text) for text in commas):
        marks = {","}
    elif any(re.fullmatch(r"\d+\.\d+", text) for text in texts):
        marks = {"."}
    else:
        marks = set()
    if len(marks) != 1:
        raise LayoutError(
            f"the comma of {commas[0]!r} may separate decimals or thousands; write numbers with a decimal point"
        )
    return marks.pop()
