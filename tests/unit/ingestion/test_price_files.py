"""Reading price files: every row becomes a bar or is quarantined with a reason, or the file is rejected."""

import gzip
import io
import json
import random
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import PriceFileError
from pipelines.ingestion.price_files import BLOCK_ROWS, REASONS, QuarantinedRow, stage_price_files

NOW = datetime(2025, 1, 1, 12, 0, 30, tzinfo=UTC)
START = datetime(2024, 12, 30, 23, 58, tzinfo=UTC)
FIRST = int(START.timestamp())
HEADER = "timestamp,open,high,low,close,volume"
KLINE_END = ",1735603259999,123.4,12,1.0,2.0,0"


def iso(k: int) -> str:
    return f"{START + timedelta(minutes=k):%Y-%m-%d %H:%M:%S}"


def bar(k: int) -> str:
    """Values of bar k, identified by its close."""
    return f"100,110,90,{105 + k},1.5"


def table(times: Sequence[str], header: str = HEADER, end: str = "") -> str:
    lines = [*([header] if header else []), *(f"{time},{bar(k)}{end}" for k, time in enumerate(times))]
    return "\n".join(lines) + "\n"


THREE = table([iso(k) for k in range(3)])
QUOTED = "".join(",".join(f'"{field}"' for field in line.split(",")) + "\n" for line in THREE.splitlines())
MS = [str((FIRST + 60 * k) * 1000) for k in range(3)]


@dataclass(frozen=True)
class Staged:
    """Bars and quarantined rows of some files."""

    minutes: list[int]
    closes: list[float]
    quarantined: list[QuarantinedRow]

    @property
    def rows(self) -> list[tuple[int, str]]:
        return [(row.source_row, row.reason) for row in self.quarantined]


def stage(*paths: Path, now: datetime = NOW, memory_limit: str = "1GB") -> Staged:
    with stage_price_files(paths, now, memory_limit=memory_limit) as bars:
        blocks, quarantined = list(bars.blocks()), list(bars.quarantined_rows())
        assert sum(len(block.minutes) for block in blocks) == bars.accepted
        assert all(block.values.shape == (5, len(block.minutes)) for block in blocks)
        assert sum(bars.reasons().values()) == len(quarantined) == bars.quarantined
        minutes = [minute for block in blocks for minute in block.minutes.tolist()]
        return Staged(minutes, [close for block in blocks for close in block.values[3].tolist()], quarantined)


def written(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def zipped(members: Mapping[str, bytes | str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def flipped(content: bytes, at: int, bits: int = 0xFF) -> bytes:
    return content[:at] + bytes([content[at] ^ bits]) + content[at:][1:]


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
    frame(close=[105.0, float("nan"), None]).write_parquet(tmp_path / "btc.parquet")
    found = stage(tmp_path / "btc.parquet")
    assert found.closes == [105.0]
    assert found.rows == [(2, "not_a_number"), (3, "not_a_number")]
    assert json.loads(found.quarantined[0].raw)["close"] == "nan"


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
    with stage_price_files([tmp_path], NOW) as bars:
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
    assert all(values.split(",")[-1] in row.raw and row.file_name == "btc.csv" for row in found.quarantined)


@pytest.mark.parametrize("time", TIMES)
def test_a_row_with_an_invalid_time_is_quarantined_with_its_reason(tmp_path: Path, time: str) -> None:
    found = stage(written(tmp_path, "btc.csv", table([time, iso(0)])))
    assert [reason for _, reason in found.rows] == [reason for reason in [TIMES[time]] if reason]


def test_seconds_among_milliseconds_are_quarantined(tmp_path: Path) -> None:
    found = stage(written(tmp_path, "btc.csv", table([*MS, str(FIRST + 300), "-1", "1e300", "NaN"], "")))
    assert found.closes == [105.0, 106.0, 107.0]
    assert found.rows == [(4, "implausible_time"), (5, "implausible_time"), (6, "bad_time"), (7, "bad_time")]


def test_the_last_row_of_the_last_file_wins_for_a_repeated_minute(tmp_path: Path) -> None:
    first = written(tmp_path, "z.csv", table([iso(1), iso(0), iso(1)]))
    second = written(tmp_path, "a.csv", f"{HEADER}\n{iso(0)},100,110,90,109,1.5\n")
    found = stage(first, second)
    assert found.closes == [109.0, 107.0]
    assert found.rows == [(1, "duplicate"), (2, "duplicate")]
    assert {row.file_name for row in found.quarantined} == {"z.csv"}
    assert json.loads(found.quarantined[1].raw)["close"] == 106.0


@settings(deadline=None, max_examples=40)
@given(kinds=st.lists(st.tuples(st.sampled_from(sorted(ROWS)), st.integers(0, 20)), max_size=40))
def test_every_row_is_a_sorted_bar_or_quarantined_under_its_row_number(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[tuple[str, int]]
) -> None:
    lines = [f"{iso(k)},{ROWS[kind][0]}" for kind, k in [*kinds, ("good", 20)]]
    quarantined = [(row, reason) for row, (kind, _) in enumerate(kinds, 1) if (reason := ROWS[kind][1])]
    latest: dict[int, int] = {}
    for row, (kind, k) in enumerate([*kinds, ("good", 20)], 1):
        if kind == "good":
            quarantined += [(latest[k], "duplicate")] if k in latest else []
            latest[k] = row
    found = stage(written(tmp_path_factory.mktemp("rows"), "btc.csv", "\n".join([HEADER, *lines])))
    assert found.rows == sorted(quarantined)
    assert found.minutes == [FIRST // 60 + k for k in sorted(latest)]


NOISE = st.text(st.characters(codec="utf-8", exclude_characters='\r\n"'), max_size=12)


@settings(deadline=None, max_examples=40)
@given(damage=st.lists(st.tuples(st.integers(0, 5), NOISE), max_size=20))
def test_no_row_is_lost_for_any_field_content(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, str]]
) -> None:
    lines = [f"{iso(0)},{bar(0)}"]
    for k, (field, noise) in enumerate(damage, 1):
        fields = [iso(k), *bar(k).split(",")]
        fields[field] = noise
        lines.append(",".join(fields))
    found = stage(written(tmp_path_factory.mktemp("noise"), "btc.csv", "\n".join([HEADER, *lines])))
    assert len(found.minutes) + len(found.quarantined) == len(lines)
    assert len({row.source_row for row in found.quarantined}) == len(found.quarantined)
    assert all(row.reason in REASONS and isinstance(json.loads(row.raw), dict) for row in found.quarantined)


def test_a_quarantined_row_with_an_escape_sequence_stays_readable(tmp_path: Path) -> None:
    found = stage(written(tmp_path, "btc.csv", f"{THREE}{iso(3)},\\u0000,110,90,105,1\n"))
    assert found.rows == [(4, "not_a_number")]
    assert json.loads(found.quarantined[0].raw)["high"] == "110"


def test_blank_lines_do_not_shift_row_numbers(tmp_path: Path) -> None:
    lines = [HEADER, f"{iso(0)},{bar(0)}", "", f"{iso(1)},x,1,1,1,1", "junk", f"{iso(2)},x,1,1,1,1"]
    assert stage(written(tmp_path, "btc.csv", "\n".join(lines))).rows in (
        [(2, "not_a_number"), (3, "malformed"), (4, "not_a_number")],  # blank lines are not rows
        [(3, "not_a_number"), (4, "malformed"), (5, "not_a_number")],  # or they count as rows
    )


def test_an_unclosed_quote_does_not_swallow_rows(tmp_path: Path) -> None:
    text = f'{THREE}{iso(3)},"100,110,90,105,1\n' + "".join(f"{iso(k)},{bar(k)}\n" for k in range(4, 20))
    with suppress(PriceFileError):  # rejecting the whole file is also correct
        found = stage(written(tmp_path, "btc.csv", text))
        assert len(found.minutes) + len(found.quarantined) == 20


BIG = table([iso(k) for k in range(-4000, 0)]).encode()
PACKED_BIG, ZIPPED_BIG = gzip.compress(BIG), zipped({"m.csv": BIG})
ENCRYPTED = flipped(flipped(ZIPPED_BIG, 6, 1), ZIPPED_BIG.index(b"PK\x01\x02") + 8, 1)
UNREADABLE: dict[str, bytes | str] = {
    "empty.csv": "",
    "blank.csv": " \n\n",
    "header only.csv": HEADER + "\n",
    "binary.csv": bytes(range(256)) * 9,
    "zeros.csv": bytes(5000),
    "prose.csv": "Lorem ipsum\ndolor sit amet\n",
    "prose with commas.csv": "a word, and, some, more, and, one\nx\n",
    "no close.csv": THREE.replace("close", "clothes"),
    "no time.csv": THREE.replace("timestamp", "id"),
    "five columns.csv": "\n".join(line.rsplit(",", 1)[0] for line in THREE.splitlines()),
    "empty.csv.gz": "",
    "of nothing.csv.gz": gzip.compress(b""),
    "no gzip.csv.gz": THREE,
    "cut early.csv.gz": PACKED_BIG[:30],
    "cut.csv.gz": PACKED_BIG[: len(PACKED_BIG) // 2],
    "cut by 4.csv.gz": PACKED_BIG[:-4],
    "damaged early.csv.gz": flipped(PACKED_BIG, 30),
    "damaged.csv.gz": flipped(PACKED_BIG, len(PACKED_BIG) // 2),
    "wrong checksum.csv.gz": flipped(PACKED_BIG, -6),
    "no zip.zip": THREE,
    "cut.zip": ZIPPED_BIG[:2000],
    "no csv.zip": zipped({"m.txt": THREE}),
    "empty.zip": zipped({}),
    "empty member.zip": zipped({"m.csv": ""}),
    "encrypted.zip": ENCRYPTED,
    "damaged.zip": flipped(ZIPPED_BIG, 60),
    "damaged later.zip": flipped(ZIPPED_BIG, 3000),
    "text.parquet": THREE,
    "cut.parquet": b"PAR1" + bytes(99),
}


def assert_rejected(path: Path, name: str) -> None:
    with pytest.raises(PriceFileError) as raised:
        stage(path)
    message = str(raised.value)
    assert name in message
    assert "nothing was stored" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_file_is_rejected_with_one_line(tmp_path: Path, name: str) -> None:
    assert_rejected(written(tmp_path, name, UNREADABLE[name]), name)


def test_a_missing_file_and_an_empty_folder_are_rejected_with_one_line(tmp_path: Path) -> None:
    assert_rejected(tmp_path / "missing.csv", "missing.csv")
    (tmp_path / "empty").mkdir()
    assert_rejected(tmp_path / "empty", "empty")


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
