"""Mutated files are stored exactly as they say, or refused whole: nothing in between.

MUTATIONS sets the number of cases, 400 by default.
"""

import math
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from price_file_formats import SampleBar, german, sample_bars, stamp

from pipelines.errors import PriceFileError
from pipelines.ingestion.price_files import stage_price_files
from pipelines.ingestion.understanding import Expectation

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CASES = int(os.environ.get("MUTATIONS", "400"))
CHUNK = 50
Cells = list[str]
Random = np.random.Generator


@dataclass(frozen=True)
class Base:
    """A notation of bars as lines: `cells` writes one, `parse` reads it back as a person would."""

    header: str
    mark: str
    cells: Callable[[SampleBar], Cells]
    parse: Callable[[Cells], SampleBar]


def _plain(text: str) -> float:
    if not re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", text):
        raise ValueError(text)
    return float(text)


def _comma(text: str) -> float:
    if not re.fullmatch(r"\s*[-+]?(\d{1,3}([. ]\d{3})+|\d+)(,\d*)?\s*", text):
        raise ValueError(text)
    return float(text.replace(".", "").replace(" ", "").replace(",", "."))


def _iso(text: str) -> datetime:
    return datetime.fromisoformat(text.strip()).replace(tzinfo=UTC)


def _epoch(text: str) -> datetime:
    value = _plain(text)
    unit = next(unit for unit, limit in ((1, 1e11), (1e3, 1e14), (1e6, 1e17), (1e9, math.inf)) if value < limit)
    return datetime.fromtimestamp(value / unit, UTC)


def _base(
    header: str,
    mark: str,
    order: Sequence[int],
    time: Callable[[SampleBar], str],
    read_time: Callable[[str], datetime],
    number: Callable[[float], str] = str,
    read: Callable[[str], float] = _plain,
    more: int = 0,
) -> Base:
    def cells(bar: SampleBar) -> Cells:
        return [time(bar), *(number(bar.values[at]) for at in order), *["7"] * more]

    def parse(found: Cells) -> SampleBar:
        if len(found) != 6 + more:
            raise ValueError(found)
        values = dict(zip(order, (read(cell) for cell in found[1:6]), strict=True))
        return SampleBar(read_time(found[0]), *(values[at] for at in range(5)))

    return Base(header, mark, cells, parse)


IN_ORDER = (0, 1, 2, 3, 4)
NAMES = ("timestamp", "open", "high", "low", "close", "volume")
BASES = (
    _base("timestamp,open,high,low,close,volume", ",", IN_ORDER, stamp, _iso),
    _base("unix,open,high,low,close,Volume BTC", ",", IN_ORDER, lambda b: str(b.seconds), _epoch),
    _base("", ",", IN_ORDER, lambda b: str(b.seconds * 1000), _epoch),
    _base("", ",", IN_ORDER, lambda b: str(b.seconds * 1000), _epoch, more=6),
    _base("", ",", (2, 1, 0, 3, 4), lambda b: str(b.seconds), _epoch),
    _base("", ",", (0, 3, 1, 2, 4), lambda b: str(b.seconds * 1000), _epoch),
    _base("time;open;high;low;close;volume", ";", IN_ORDER, stamp, _iso, lambda v: german(v, 5), _comma),
    _base("time\topen\thigh\tlow\tclose\tvolume", "\t", IN_ORDER, stamp, _iso),
)
UNITS = (1, 10**3, 10**6, 10**9)


@dataclass
class Case:
    """A mutated file: its text, and for each minute what may be stored. `must_refuse`: no bar may be stored."""

    text: bytes
    bars: dict[int, set[tuple[float, ...]]]
    must_refuse: bool = False
    may_lack: bool = False


def _text(base: Base, rows: Sequence[Cells], header: str | None = None) -> bytes:
    first = base.header if header is None else header
    return "\n".join([*([first] if first else []), *(base.mark.join(row) for row in rows), ""]).encode()


def _expected(bars: Sequence[SampleBar]) -> dict[int, set[tuple[float, ...]]]:
    return {bar.seconds // 60: {bar.values} for bar in bars}


def unchanged(base: Base, bars: list[SampleBar], _random: Random) -> Case:
    return Case(_text(base, [base.cells(bar) for bar in bars]), _expected(bars))


def shuffled(base: Base, bars: list[SampleBar], random: Random) -> Case:
    order = random.permutation(len(bars)) if random.random() < 0.5 else range(len(bars))[::-1]
    return Case(_text(base, [base.cells(bars[at]) for at in order]), _expected(bars))


def units_mixed(base: Base, bars: list[SampleBar], random: Random) -> Case:
    rows = [base.cells(bar) for bar in bars]
    if base.parse.__closure__ and rows[0][0].isdigit():
        for row, bar in zip(rows, bars, strict=True):
            row[0] = str(bar.seconds * int(random.choice(UNITS)))
    return Case(_text(base, rows), _expected(bars))


def zones_mixed(base: Base, bars: list[SampleBar], random: Random) -> Case:
    """Offsets, another in each row."""
    rows = [base.cells(bar) for bar in bars]
    if not rows[0][0].isdigit():
        for row, bar in zip(rows, bars, strict=True):
            hours = int(random.integers(-11, 13))
            row[0] = (bar.at + timedelta(hours=hours)).strftime(f"%Y-%m-%d %H:%M:%S{hours:+03d}:00")
    return Case(_text(base, rows), _expected(bars))


def local_clock(base: Base, _bars: list[SampleBar], random: Random) -> Case:
    """New York's clock without an offset, over a change of the offset."""
    start = datetime(2024, 3, 10, 4, tzinfo=UTC) if random.random() < 0.5 else datetime(2024, 11, 3, 3, tzinfo=UTC)
    bars = sample_bars(400, first=start, seed=int(random.integers(1 << 30)))
    change = datetime(2024, 3, 10, 7, tzinfo=UTC) if start.month == 3 else datetime(2024, 11, 3, 6, tzinfo=UTC)
    before, after = (-5, -4) if start.month == 3 else (-4, -5)
    rows = [base.cells(bar) for bar in bars]
    if rows[0][0].isdigit():
        return Case(_text(base, rows), _expected(bars))
    for row, bar in zip(rows, bars, strict=True):
        row[0] = (bar.at + timedelta(hours=before if bar.at < change else after)).strftime("%Y-%m-%d %H:%M:%S")
    return Case(_text(base, rows), {}, must_refuse=True)


def columns_moved(base: Base, bars: list[SampleBar], random: Random) -> Case:
    """The columns in another order, header and all."""
    if not base.header:
        return unchanged(base, bars, random)
    order = random.permutation(len(base.header.split(base.mark)))
    rows = [[row[at] for at in order] for row in map(base.cells, bars)]
    names = base.header.split(base.mark)
    return Case(_text(base, rows, base.mark.join(names[at] for at in order)), _expected(bars))


def columns_swapped(base: Base, bars: list[SampleBar], random: Random) -> Case:
    """Two columns in each other's place, under a header that does not say so."""
    first, second = random.choice(6, 2, replace=False)
    rows = [base.cells(bar) for bar in bars]
    for row in rows:
        row[first], row[second] = row[second], row[first]
    # Without a header, the order of another exchange may result: then the bars are right.
    return Case(_text(base, rows), {} if base.header else _expected(bars), must_refuse=bool(base.header))


def rows_doubled(base: Base, bars: list[SampleBar], random: Random) -> Case:
    rows = [base.cells(bar) for bar in bars]
    again = random.choice(len(rows), int(random.integers(1, len(rows))), replace=False)
    doubled = (
        [*rows, *(rows[at] for at in again)] if random.random() < 0.5 else sorted([*rows, *(rows[at] for at in again)])
    )
    return Case(_text(base, doubled), _expected(bars))


def rows_contradicted(base: Base, bars: list[SampleBar], random: Random) -> Case:
    """Some minutes come again with other prices, such as another asset's."""
    others = sample_bars(len(bars), price=2_280.0, seed=int(random.integers(1 << 30)))
    again = random.choice(len(bars), int(random.integers(1, len(bars))), replace=False)
    rows = [*map(base.cells, bars), *(base.cells(others[at]) for at in again)]
    return Case(_text(base, rows), {}, must_refuse=True)


def rows_missing(base: Base, bars: list[SampleBar], random: Random) -> Case:
    kept = [bar for bar in bars if random.random() < 0.7]
    return Case(_text(base, [base.cells(bar) for bar in kept]), _expected(kept))


def other_interval(base: Base, bars: list[SampleBar], random: Random) -> Case:
    step = int(random.choice([3, 5, 15, 20]))
    return Case(_text(base, [base.cells(bar) for bar in bars[::step]]), {}, must_refuse=True)


def bytes_flipped(base: Base, bars: list[SampleBar], random: Random) -> Case:
    """Damaged bytes: undamaged rows stay as they are, a damaged one is stored as it reads, or not at all."""
    text = bytearray(_text(base, [base.cells(bar) for bar in bars]))
    for at in random.integers(0, len(text), int(random.integers(1, 4))):
        text[at] = int(random.integers(0, 256)) if random.random() < 0.5 else text[at] ^ (1 << int(random.integers(8)))
    allowed = _expected(bars)
    for line in re.split(r"\r\n|\r|\n", bytes(text).decode("utf-8", errors="replace")):
        with suppress(ValueError, OverflowError, OSError, StopIteration):
            bar = base.parse(line.split(base.mark))
            allowed.setdefault(bar.seconds // 60, set()).add(bar.values)
    return Case(bytes(text), allowed, may_lack=True)


MUTATIONS = (
    *(unchanged, shuffled, units_mixed, zones_mixed, local_clock, columns_moved, columns_swapped),
    *(rows_doubled, rows_contradicted, rows_missing, other_interval),
    *(bytes_flipped,) * 6,
)


def staged_bars(path: Path) -> tuple[dict[int, tuple[float, ...]], str | None]:
    """Bars by minute, or the message of the refusal."""
    try:
        with stage_price_files([path], NOW, Expectation("BTC")) as staged:
            return {
                int(minute): tuple(block.values[:, at].tolist())
                for block in staged.blocks()
                for at, minute in enumerate(block.minutes)
            }, None
    except PriceFileError as error:
        return {}, str(error)


@pytest.mark.parametrize("chunk", range(-(-CASES // CHUNK)))
def test_a_mutated_file_is_stored_exactly_or_refused_whole(tmp_path: Path, chunk: int) -> None:
    for number in range(chunk * CHUNK, min((chunk + 1) * CHUNK, CASES)):
        random = np.random.default_rng(number)
        base = BASES[int(random.integers(len(BASES)))]
        mutate = MUTATIONS[int(random.integers(len(MUTATIONS)))]
        bars = sample_bars(int(random.integers(60, 300)), seed=int(random.integers(1 << 30)))
        case = mutate(base, bars, random)
        path = tmp_path / f"case-{number}.csv"
        path.write_bytes(case.text)
        name = f"case {number}: {mutate.__name__} of {base.header or base.cells(bars[0])}"
        stored, message = staged_bars(path)
        if message is not None:
            assert message.startswith(path.name), name
            assert "\n" not in message, name
            assert case.may_lack or case.must_refuse or mutate is columns_swapped, f"{name}: {message}"
            continue
        assert not case.must_refuse, name
        wrong = {minute: bar for minute, bar in stored.items() if bar not in case.bars.get(minute, set())}
        assert not wrong, f"{name}: {wrong}"
        missing = len(case.bars) - len(stored)
        assert missing <= (4 + max(1, len(case.bars) // 100) if case.may_lack else 0), f"{name}: {missing} missing"
        path.unlink()
