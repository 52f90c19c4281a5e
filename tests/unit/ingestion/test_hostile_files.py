"""Price files of any content: bars that pass every check, or one line that says why not."""

import gzip
import io
import json
import math
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl
import zstandard
from fuzzing import accepted_or_refused, examples
from hypothesis import given
from hypothesis import strategies as st
from price_file_formats import sample_bars, stamp, zipped

from pipelines.domain.prices.bars import minute_of_instant
from pipelines.ingestion.price_files import stage_price_files
from pipelines.ingestion.understanding import Expectation

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BARS = sample_bars(90)
NAMES = ("timestamp", "open", "high", "low", "close", "volume")
ROWS = [(stamp(bar), *bar.values) for bar in BARS]
FRAME = pl.DataFrame({name: [row[at] for row in ROWS] for at, name in enumerate(NAMES)})
CSV = "\n".join([",".join(NAMES), *(",".join(map(str, row)) for row in ROWS), ""]).encode()


def parquet(compression: str) -> bytes:
    buffer = io.BytesIO()
    FRAME.with_columns(pl.col("timestamp").str.to_datetime()).write_parquet(buffer, compression=compression)  # type: ignore[arg-type]
    return buffer.getvalue()


def feather(compression: str) -> bytes:
    buffer = io.BytesIO()
    FRAME.write_ipc(buffer, compression=compression)  # type: ignore[arg-type]
    return buffer.getvalue()


FILES: dict[str, bytes] = {
    "btc.csv": CSV,
    "quoted.csv": "".join(
        ",".join(f'"{cell}"' for cell in line.split(",")) + "\n" for line in CSV.decode().splitlines()
    ).encode(),
    "german.csv": CSV.replace(b",", b";").replace(b".", b","),
    "wide.csv": CSV.decode().encode("utf-16"),
    "btc.csv.gz": gzip.compress(CSV),
    "btc.csv.zst": zstandard.compress(CSV),
    "btc.zip": zipped({"2024/btc.csv": CSV}),
    "stored.zip": zipped({"btc.csv": CSV}, zipfile.ZIP_STORED),
    "btc.json": json.dumps(FRAME.to_dicts()).encode(),
    "rows.json": json.dumps([[int(bar.seconds) * 1000, *bar.values] for bar in BARS]).encode(),
    "btc.jsonl": "\n".join(json.dumps(row) for row in FRAME.to_dicts()).encode(),
    "btc.parquet": parquet("uncompressed"),
    "snappy.parquet": parquet("snappy"),
    "zstd.parquet": parquet("zstd"),
    "btc.feather": feather("uncompressed"),
    "lz4.feather": feather("lz4"),
}


def ingest(path: Path) -> str | None:
    """Take a file; what is accepted must have passed every check. Returns the refusal."""
    with accepted_or_refused() as outcome, stage_price_files([path], NOW, Expectation("BTC")) as staged:
        for block in staged.blocks():
            opens, highs, lows, closes, volumes = block.values
            assert all(minute_of_instant(datetime(2009, 1, 3, tzinfo=UTC)) <= each for each in block.minutes.tolist())
            assert all(each < minute_of_instant(NOW) for each in block.minutes.tolist())
            assert all(map(math.isfinite, block.values.ravel().tolist()))
            assert (lows > 0).all()
            assert (volumes >= 0).all()
            assert (highs >= opens).all()
            assert (highs >= closes).all()
            assert (lows <= opens).all()
            assert (lows <= closes).all()
        assert all(row.raw.isprintable() or len(row.raw) < 10_000 for row in staged.quarantined_rows())
    return outcome.refusal


PIECES = st.one_of(
    st.binary(min_size=1, max_size=8),
    st.sampled_from(
        [b"\xff" * 8, b"\x00" * 8, b"\x7f" + b"\xff" * 7, b"\n", b",", b'"', b"\x1b[31m", b"\xff\xff\xff\x7f"]
    ),
)


@examples(150, 5_000)
@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 8), PIECES), max_size=4),
    st.one_of(st.none(), st.floats(0, 1)),
)
def test_a_damaged_file_of_any_format_is_read_or_refused(
    tmp_path: Path, name: str, changes: list[tuple[float, int, bytes]], cut: float | None
) -> None:
    content = FILES[name]
    for share, removed, piece in changes:
        # Half of the changes near the ends, where formats keep what they say about themselves.
        at = int(share * len(content)) if share < 0.5 else len(content) - int((share - 0.5) ** 2 * 2 * len(content)) - 1
        content = content[:at] + piece + content[at + removed :]
    if cut is not None:
        content = content[: int(cut * len(content))]
    path = tmp_path / name
    path.write_bytes(content)
    ingest(path)


CELLS = st.one_of(
    st.sampled_from(
        ["", "nan", "inf", "-1", "0", "1e400", "1e-400", "9" * 400, "0x10", "1_000", "1,5", "1.5.5", "NULL", "true"]
    ),
    st.sampled_from(
        ["2024-01-01", "2024-02-30 00:00:00", "9999-12-31 23:59:59", "99999-01-01 00:00:00", "-1", "24:00"]
    ),
    st.sampled_from(
        ["\x1b[31m", "\u202e", "\x00", "x" * 5_000, '"', "'", "=cmd()", "\ufeff", "\r", "BTC", "ETH", "ETHEUR"]
    ),
    st.text(max_size=6),
    st.floats().map(str),
)
TITLES = st.one_of(
    st.sampled_from([*NAMES, "symbol", "ticker", "time", "date", "high_1", "Volume BTC", "Volume ETH", ""]),
    st.text(max_size=8),
    st.sampled_from(["\x1b[2J", 'a"b', "a'b", "a.b", "*", "x" * 20_000, "open;", "$1", "\u202eabc"]),
)


@examples(120, 2_500)
@given(
    st.sampled_from([",", ";", "\t", "|"]),
    st.lists(TITLES, max_size=3),
    st.lists(st.tuples(st.integers(0, 89), st.integers(0, 8), CELLS), max_size=6),
    st.permutations(range(6)),
    st.booleans(),
)
def test_a_table_with_hostile_cells_and_titles_is_read_or_refused(
    tmp_path: Path,
    delimiter: str,
    titles: list[str],
    changes: list[tuple[int, int, str]],
    order: list[int],
    is_quoted: bool,
) -> None:
    rows = [[*(str(row[at]) for at in order), *("7" for _ in titles)] for row in ROWS]
    for at, column, cell in changes:
        rows[at][column % len(rows[at])] = cell
    lines = [[*(NAMES[at] for at in order), *titles], *rows]
    text = "\n".join(delimiter.join(f'"{cell}"' if is_quoted else cell for cell in line) for line in lines)
    path = tmp_path / "btc.csv"
    path.write_bytes(text.encode("utf-8", errors="surrogatepass"))
    ingest(path)


#: What a column may be instead of a number or a time.
EXPRESSIONS = [
    "NULL",
    "'x'",
    "true",
    "1::HUGEINT",
    "1e300::DOUBLE",
    "'nan'::FLOAT",
    "1.5::DECIMAL(38, 10)",
    "uuid()",
    "[1, 2]",
    "{'a': 1}",
    "MAP {'a': 1}",
    "'\\xff'::BLOB",
    "DATE '1970-01-01'",
    "TIMESTAMP '290000-01-01'",
    "TIME '00:00'",
    "INTERVAL 1 DAY",
    "'infinity'::TIMESTAMP",
    "TIMESTAMPTZ '2024-01-01 00:00+00'",
    "255::UTINYINT",
    "-1::BIGINT",
    "18446744073709551615::UBIGINT",
    "'2024-01-01 00:00'",
    "TIMESTAMP_NS '2024-01-01 00:00:00'",
    "'-infinity'::DATE",
]


@examples(60, 1_500)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(EXPRESSIONS)), max_size=2),
    st.lists(st.tuples(TITLES, st.sampled_from(EXPRESSIONS)), max_size=2),
    st.sampled_from(["PARQUET", "JSON"]),
)
def test_columns_of_any_type_and_name_are_read_or_refused(
    tmp_path: Path, replaced: list[tuple[int, str]], more: list[tuple[str, str]], kind: str
) -> None:
    columns = {name: f'"{name}"' for name in NAMES}
    columns |= {NAMES[at]: expression for at, expression in replaced}
    columns |= {title.replace("\x00", ""): expression for title, expression in more if title.lower() not in columns}
    selected = ", ".join(
        f"""{expression} AS "{name.replace('"', '""')}\"""" for name, expression in columns.items() if name.strip()
    )
    path = tmp_path / f"btc.{kind.lower()}"
    with duckdb.connect() as connection:
        connection.register("bars", {name: FRAME[name].to_numpy() for name in NAMES})
        try:
            connection.execute(f"COPY (SELECT {selected} FROM bars) TO '{path}' (FORMAT {kind})")
        except duckdb.Error:
            return  # not a file that DuckDB would write
    ingest(path)
