"""Reading price files: every row becomes a bar or is quarantined with a reason, or the file is rejected."""

import gzip
import json
import random
from contextlib import suppress
from datetime import timedelta
from operator import itemgetter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from price_file_formats import zipped
from small_price_files import (
    FIRST,
    HEADER,
    KLINE_END,
    MS,
    NOW,
    QUOTED,
    START,
    THREE,
    Staged,
    bar,
    iso,
    padded,
    stage,
    table,
    written,
)

from pipelines.errors import PriceFileError
from pipelines.ingestion.price_files import BLOCK_ROWS, stage_price_files
from pipelines.ingestion.understanding import REASONS, Expectation

UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
TIME_COLUMNS = ("time", "open_time", "Open time", "DATE", "datetime", "Unix Timestamp", "opened_at")
DIALECTS: dict[str, bytes | str] = {
    "naive time": THREE,
    "T and Z": table([iso(k).replace(" ", "T") + "Z" for k in range(3)]),
    "milliseconds and Z": table([iso(k).replace(" ", "T") + ".000Z" for k in range(3)]),
    "without seconds": table([iso(k)[:-3] for k in range(3)]),
    "offset": table([iso(k + 330) + "+05:30" for k in range(3)]),
    "offset of New York": table([iso(k - 300) + "-05:00" for k in range(3)]),
    **{f"unix in {unit}": table([str((FIRST + 60 * k) * many) for k in range(3)]) for unit, many in UNITS.items()},
    "seconds with a fraction": table([f"{FIRST + 60 * k}.0" for k in range(3)]),
    **{f"column {name}": table(MS, HEADER.replace("timestamp", name)) for name in TIME_COLUMNS},
    "klines": table(MS, "", KLINE_END),
    "klines of six columns": table(MS, ""),
    "klines in us": table([f"{ms}000" for ms in MS], "", KLINE_END),
    "klines with byte order mark": "\ufeff" + table(MS, "", KLINE_END),
    "semicolons": THREE.replace(",", ";"),
    "tabs": THREE.replace(",", "\t"),
    "bars": THREE.replace(",", "|"),
    "quoted": QUOTED,
    "byte order mark": "\ufeff" + THREE,
    "byte order mark and quotes": "\ufeff" + QUOTED,
    "CRLF": THREE.replace("\n", "\r\n"),
    "no last line feed": THREE.rstrip(),
    "blank lines at the end": THREE + "\n\n",
    "spaces": THREE.replace(",", ", "),
    "other order, more columns": "symbol,volume,close,low,high,open,unix\n"
    + "".join(f"BTC,1.5,{105 + k},90,110,100,{FIRST + 60 * k}\n" for k in range(3)),
    "unnamed index": "".join(f"{k or ''},{line}\n" for k, line in enumerate(THREE.splitlines())),
    "unsorted": "\n".join([HEADER, *sorted(THREE.splitlines()[1:], reverse=True)]),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_csv_dialect_gives_the_same_bars(tmp_path: Path, dialect: str) -> None:
    found = stage(written(tmp_path, "btc.csv", DIALECTS[dialect]))
    assert found == Staged([FIRST // 60 + k for k in range(3)], [105.0, 106.0, 107.0], [])


def frame(**columns: object) -> pl.DataFrame:
    prices = {"open": [100.0] * 3, "high": [110.0] * 3, "low": [90.0] * 3, "close": [105.0, 106.0, 107.0]}
    times = [START.replace(tzinfo=None) + timedelta(minutes=k) for k in range(3)]
    return pl.DataFrame({"timestamp": times, **prices, "volume": 1.5, **columns})


PARQUET = {
    "naive": frame(),
    "UTC": frame().with_columns(pl.col("timestamp").dt.replace_time_zone("UTC")),
    "New York": frame().with_columns(
        pl.col("timestamp").dt.replace_time_zone("UTC").dt.convert_time_zone("America/New_York")
    ),
    "nanoseconds": frame().with_columns(pl.col("timestamp").cast(pl.Datetime("ns"))),
    **{f"whole {unit}": frame(timestamp=[(FIRST + 60 * k) * many for k in range(3)]) for unit, many in UNITS.items()},
    "text": frame(timestamp=[iso(k) for k in range(3)]),
    "whole prices": frame(open=[100] * 3, low=["90"] * 3),
}


@pytest.mark.parametrize("kind", PARQUET)
@pytest.mark.parametrize("name", ["btc.parquet", "btc.csv", "btc"])
def test_parquet_is_detected_by_content_and_read_with_any_column_types(tmp_path: Path, kind: str, name: str) -> None:
    PARQUET[kind].write_parquet(tmp_path / name)
    assert stage(tmp_path / name) == Staged([FIRST // 60 + k for k in range(3)], [105.0, 106.0, 107.0], [])


def test_nan_and_null_in_parquet_are_quarantined(tmp_path: Path) -> None:
    for number, close in enumerate((float("nan"), None)):
        frame(close=[105.0, close, 107.0]).write_parquet(tmp_path / f"{number}.parquet")
        found = stage(tmp_path / f"{number}.parquet")
        assert found.closes == [105.0, 107.0]
        assert found.rows == [(2, "not_a_number")]
        assert json.loads(found.quarantined[0].raw)["close"] == ("nan" if close else None)


PACKED = {
    "btc.csv.gz": gzip.compress(THREE.encode()),
    "of two members.csv.gz": gzip.compress(THREE[:70].encode()) + gzip.compress(THREE[70:].encode()),
    "gzip.csv": gzip.compress(THREE.encode()),
    "btc.zip": zipped({"months/1.csv": table(MS[:1], ""), "months/2.csv": THREE, "readme.txt": "no prices"}),
    "of a mac.zip": zipped({"btc.csv": THREE, "__MACOSX/._btc.csv": b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X"}),
    "CAPITALS.ZIP": zipped({"BTC.CSV": THREE}),
}


@pytest.mark.parametrize("name", PACKED)
def test_every_compression_gives_the_same_bars(tmp_path: Path, name: str) -> None:
    assert stage(written(tmp_path, name, PACKED[name])).closes == [105.0, 106.0, 107.0]


def test_all_price_files_of_a_folder_are_read(tmp_path: Path) -> None:
    frame().write_parquet(tmp_path / "a.parquet")
    written(tmp_path, "b.csv", table([iso(5)]))
    written(tmp_path, "d/c.zip", zipped({"m.csv": table([iso(6)])}))
    written(tmp_path, "E.CSV", table([iso(7)]))
    written(tmp_path, "notes.txt", "no prices")
    with stage_price_files([tmp_path], NOW, Expectation("BTC")) as bars:
        assert [name for name, _ in bars.skipped] == ["notes.txt"]
        assert sorted(source.name for source in bars.sources) == ["E.CSV", "a.parquet", "b.csv", "c.zip/m.csv"]
        assert bars.accepted == 6


@pytest.mark.parametrize("name", ["btc*.csv", "btc[12].csv", "btc?.csv", "it's.csv"])
def test_special_characters_in_a_file_name_are_not_a_pattern(tmp_path: Path, name: str) -> None:
    written(tmp_path, "btc1.csv", table([iso(9)]))
    assert stage(written(tmp_path, name, THREE)).closes == [105.0, 106.0, 107.0]


ROWS = {
    "good": (bar(0), None),
    "short": ("100,110", "malformed"),
    "long": (f"{bar(0)},7", "malformed"),
    "text": ("100,110,90,about 105,1", "not_a_number"),
    "missing": ("100,110,90,,1", "not_a_number"),
    "nan": ("100,110,90,NaN,1", "not_a_number"),
    "infinite": ("100,inf,90,105,1", "not_a_number"),
    "no volume": ("100,110,90,105,nan", "not_a_number"),
    "zero": ("0,110,0,105,1", "not_positive"),
    "negative": ("100,110,-90,105,1", "not_positive"),
    "negative volume": ("100,110,90,105,-1", "not_positive"),
    "high below low": ("100,80,90,105,1", "bad_ohlc"),
    "high below close": ("100,104,90,105,1", "bad_ohlc"),
    "low above open": ("100,110,101,105,1", "bad_ohlc"),
    "NUL byte": ("100,110,90,10\x005,1", "not_a_number"),
}
TIMES = {
    "yesterday": "bad_time",
    "": "bad_time",
    "2024-13-01 00:00:00": "bad_time",
    "infinity": "bad_time",
    "1970-01-20 17:00:00": "implausible_time",
    "2025-01-01 12:01:00": "future",
    "2025-01-02 00:00:00": "future",
    "2025-01-01 12:00:00": "still_forming",
    "2025-01-01 11:59:59": "still_forming",
    "2017-08-17 04:00:20.799": "off_minute",
    "2025-01-01 11:58:01": "off_minute",
    "2025-01-01 11:59:00": None,
}


@pytest.mark.parametrize("defect", ROWS)
def test_a_row_with_invalid_values_is_quarantined_with_its_reason(tmp_path: Path, defect: str) -> None:
    values, reason = ROWS[defect]
    found = stage(written(tmp_path, "btc.csv", f"{HEADER}\n{iso(0)},{values}\n{iso(1)},{bar(1)}\n"))
    assert found.rows == ([] if reason is None else [(1, reason)])
    assert len(found.minutes) == 2 - len(found.rows)
    kept = "null" if defect == "no volume" else values.split(",")[-1]
    assert all(kept in row.raw and row.file_name == "btc.csv" for row in found.quarantined)


@pytest.mark.parametrize("time", TIMES)
def test_a_row_with_an_invalid_time_is_quarantined_with_its_reason(tmp_path: Path, time: str) -> None:
    found = stage(written(tmp_path, "btc.csv", table([time, iso(0)])))
    assert [reason for _, reason in found.rows] == [reason for reason in [TIMES[time]] if reason]


@pytest.mark.parametrize(("time", "reason"), [("-1", "implausible_time"), ("1e300", "bad_time"), ("NaN", "bad_time")])
def test_a_number_that_is_no_time_is_quarantined_and_units_may_be_mixed(tmp_path: Path, time: str, reason: str) -> None:
    found = stage(written(tmp_path, "btc.csv", table([*MS, str(FIRST + 180), time], "")))
    assert found.closes == [105.0, 106.0, 107.0, 108.0]
    assert found.rows == [(5, reason)]


def test_a_minute_with_two_bars_that_disagree_refuses_the_files(tmp_path: Path) -> None:
    with pytest.raises(PriceFileError, match="z.csv: it has several bars that disagree for 1 minutes"):
        stage(written(tmp_path, "z.csv", table([iso(1), iso(0), iso(1)])))
    first = written(tmp_path, "a.csv", table([iso(0), iso(1), iso(2)]))
    second = written(tmp_path, "b.csv", f"{HEADER}\n{iso(1)},100,110,90,109,1.5\n{iso(3)},100,110,90,109,1.5\n")
    with pytest.raises(PriceFileError, match="a.csv and b.csv: the bars of 1 minutes disagree"):
        stage(first, second)


def test_the_unfinished_last_bar_of_a_file_is_replaced_by_another_files_bar(tmp_path: Path) -> None:
    first = written(tmp_path, "a.csv", table([iso(0), iso(1), iso(2)]))
    second = written(tmp_path, "b.csv", f"{HEADER}\n{iso(2)},100,110,90,109,1.5\n{iso(3)},100,110,90,109,1.5\n")
    found = stage(second, first)
    assert found.closes == [105.0, 106.0, 109.0, 109.0]
    assert found.rows == [(3, "duplicate")]
    assert json.loads(found.quarantined[0].raw)["close"] == 107.0


def in_order(kinds: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """By minute: a single row out of order would be quarantined for that."""
    return sorted(kinds, key=itemgetter(1))


@settings(deadline=None, max_examples=40)
@given(kinds=st.lists(st.tuples(st.sampled_from(sorted(ROWS)), st.integers(0, 20)), max_size=40).map(in_order))
def test_every_row_is_a_sorted_bar_or_quarantined_under_its_row_number(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[tuple[str, int]]
) -> None:
    text = "\n".join([HEADER, *(f"{iso(k)},{ROWS[kind][0]}" for kind, k in kinds), ""])
    good = {k for kind, k in kinds if kind == "good"}
    found = stage(written(tmp_path_factory.mktemp("rows"), "btc.csv", padded(text, 4_000)))
    assert found.rows == [(row, reason) for row, (kind, _) in enumerate(kinds, 1) if (reason := ROWS[kind][1])]
    assert found.minutes[4_000:] == [FIRST // 60 + k for k in sorted(good)]
    assert len(found.minutes) == 4_000 + len(good)


NOISE = st.text(st.characters(codec="utf-8", exclude_characters='\r\n"'), max_size=12)


@settings(deadline=None, max_examples=40)
@given(damage=st.lists(st.tuples(st.integers(0, 5), NOISE), max_size=20))
def test_no_row_is_lost_for_any_field_content(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, str]]
) -> None:
    lines: list[str] = []
    for k, (field, noise) in enumerate(damage, 1):
        fields = [iso(k), *bar(k).split(",")]
        fields[field] = noise
        lines.append(",".join(fields))
    text = padded("\n".join([HEADER, *lines, ""]))
    try:
        found = stage(written(tmp_path_factory.mktemp("noise"), "btc.csv", text))
    except PriceFileError:  # a damaged time may meet another row's minute
        return
    assert len(found.minutes) + len(found.quarantined) == 2_000 + len(lines)
    assert len({row.source_row for row in found.quarantined}) == len(found.quarantined)
    assert all(row.reason in REASONS and isinstance(json.loads(row.raw), dict) for row in found.quarantined)


def test_a_quarantined_row_with_an_escape_sequence_stays_readable(tmp_path: Path) -> None:
    found = stage(written(tmp_path, "btc.csv", f"{THREE}{iso(3)},\\u0000,110,90,105,1\n"))
    assert found.rows == [(4, "not_a_number")]
    assert json.loads(found.quarantined[0].raw)["text"] == f"{iso(3)},\\u0000,110,90,105,1"


def test_blank_lines_do_not_shift_row_numbers(tmp_path: Path) -> None:
    lines = [HEADER, f"{iso(0)},{bar(0)}", "", f"{iso(1)},x,1,1,1,1", "junk", f"{iso(2)},100,80,90,105,1"]
    rows = [(3, "not_a_number"), (4, "malformed"), (5, "bad_ohlc")]  # as a text editor counts lines after the header
    assert stage(written(tmp_path, "btc.csv", "\n".join(lines))).rows == rows


def test_an_unclosed_quote_does_not_swallow_rows(tmp_path: Path) -> None:
    text = f'{THREE}{iso(3)},"100,110,90,105,1\n' + "".join(f"{iso(k)},{bar(k)}\n" for k in range(4, 20))
    with suppress(PriceFileError):  # rejecting the whole file is also correct
        found = stage(written(tmp_path, "btc.csv", text))
        assert len(found.minutes) + len(found.quarantined) == 20


@pytest.mark.slow
def test_a_file_larger_than_the_memory_limit_is_read_completely_and_sorted(tmp_path: Path) -> None:
    minutes = list(range(25_000_000, 26_200_000))
    random.Random(1).shuffle(minutes)  # noqa: S311
    lines = [f"{minute * 60_000},100,110,90,{100 + minute % 10},1.5,{minute:050d}" for minute in minutes]
    path = written(tmp_path, "big.csv", "\n".join([f"{HEADER},comment", *lines]))
    assert path.stat().st_size > 96_000_000
    assert len(minutes) > 4 * BLOCK_ROWS
    found = stage(path, memory_limit="96MB")
    closes = [100.0 + minute % 10 for minute in range(25_000_000, 26_200_000)]
    complete = found == Staged(list(range(25_000_000, 26_200_000)), closes, [])
    assert complete  # compared outside of assert: its diff of two million numbers takes minutes


def test_row_numbers_of_a_long_file_count_malformed_lines(tmp_path: Path) -> None:
    lines = [f"{(25_000_000 + k) * 60_000},{bar(0)}" for k in range(400_000)]
    broken = {row: "malformed" if row % 2 else "not_positive" for row in range(9_999, 400_000, 40_001)}
    for row, reason in broken.items():
        lines[row - 1] = "junk" if reason == "malformed" else f"{(25_000_000 + row) * 60_000},0,110,90,105,1"
    assert stage(written(tmp_path, "long.csv", "\n".join([HEADER, *lines]))).rows == list(broken.items())
