"""Files that cannot be understood with certainty are refused whole, in one line that says what was seen and what to do."""

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from price_file_formats import SampleBar, lines, sample_bars, stamp, zipped
from small_price_files import HEADER, NOW, THREE, flipped, iso, stage, table, written

from pipelines.errors import PriceFileError
from pipelines.ingestion.price_files import stage_price_files
from pipelines.ingestion.understanding import Expectation

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
    "no csv.zip": zipped({"m.pdf": THREE}),
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


PLAIN = "timestamp,open,high,low,close,volume"
BARS = sample_bars()
NEW_YORK = timedelta(hours=-5)


def rows(bars: list[SampleBar], shift: timedelta = timedelta()) -> list[tuple[object, ...]]:
    return [((bar.at + shift).strftime("%Y-%m-%d %H:%M:%S"), *bar.values) for bar in bars]


def new_york(bars: list[SampleBar], change: datetime, before: int, after: int) -> list[tuple[object, ...]]:
    return [
        ((b.at + timedelta(hours=before if b.at < change else after)).strftime("%Y-%m-%d %H:%M:%S"), *b.values)
        for b in bars
    ]


SPRING, FALL = datetime(2024, 3, 10, 7, tzinfo=UTC), datetime(2024, 11, 3, 6, tzinfo=UTC)
SPRING_ROWS = new_york(sample_bars(300, first=SPRING - timedelta(hours=2)), SPRING, -5, -4)
FALL_ROWS = new_york(sample_bars(300, first=FALL - timedelta(hours=2)), FALL, -4, -5)
ETH = sample_bars(price=2_280.0)
LONG = sample_bars(600)
TWO_DAYS = sample_bars(60, first=datetime(2024, 1, 12, 23, 30, tzinfo=UTC))

#: File name, content, and what the message says about it.
REFUSED: dict[str, tuple[str, str, str]] = {
    "bars of five minutes": ("btc.csv", lines(PLAIN, rows(BARS[::5])), "its bars are 5 minutes apart"),
    "hours, then minutes": (
        "btc.csv",
        lines(PLAIN, rows(sample_bars(3000)[: 20 * 60 : 60] + sample_bars(3000)[1300:])),
        "its bars are 60 minutes apart",
    ),
    "bars of seconds": (
        "btc.csv",
        lines(PLAIN, [(f"{stamp(b)[:-2]}{at % 60:02d}", *b.values) for at, b in enumerate(BARS)]),
        "refused as off_minute",
    ),
    "times of a bar's end": ("btc.csv", lines(PLAIN, rows(BARS, timedelta(seconds=59))), "refused as off_minute"),
    "two assets by a column": (
        "prices.csv",
        lines(f"{PLAIN},symbol", [(*row, "BTC") for row in rows(BARS)] + [(*row, "ETH") for row in rows(ETH)]),
        "it has rows of several assets: BTC, ETH",
    ),
    "two assets without a column": ("prices.csv", lines(PLAIN, rows(BARS) + rows(ETH)), "disagree for 240 minutes"),
    "another symbol by its name": ("ETHUSDT-1m-2024-01.csv", lines(PLAIN, rows(ETH)), "it is named for ETH/USDT"),
    "another currency by its name": ("BTC-EUR.csv", lines(PLAIN, rows(BARS)), "it is named for BTC/EUR"),
    "another symbol by a column": (
        "prices.csv",
        lines(f"{PLAIN},pair", [(*row, "ETH/USD") for row in rows(ETH)]),
        "its columns are of ETH/USD",
    ),
    "another symbol by its volume": (
        "prices.csv",
        lines("unix,open,high,low,close,Volume ETH,Volume USDT", [(b.seconds, *b.values, 7) for b in ETH]),
        "its columns are of ETH",
    ),
    "a clock put forward": ("btc.csv", lines(PLAIN, SPRING_ROWS), "its times may be of a local clock"),
    "a clock put back": ("btc.csv", lines(PLAIN, FALL_ROWS), "the hour of 2024-11-03 01:00 comes twice"),
    "a clock ahead of UTC": (
        "btc.csv",
        lines(PLAIN, rows(sample_bars(first=NOW.replace(second=0) - timedelta(hours=4)), timedelta(hours=9))),
        "refused as future",
    ),
    "open and close swapped": (
        "btc.csv",
        lines("timestamp,close,high,low,open,volume", rows(BARS)),
        "open and close are swapped",
    ),
    "high and low swapped": (
        "btc.csv",
        lines("timestamp,open,low,high,close,volume", rows(BARS)),
        "refused as bad_ohlc",
    ),
    "volume as low": (
        "btc.csv",
        lines(PLAIN, [(stamp(b), b.open, b.high, b.volume, b.close, b.low) for b in BARS]),
        "high is",
    ),
    "one row in ten damaged": (
        "btc.csv",
        lines(PLAIN, [(*row[:4], "x" if at % 10 == 0 else row[4], row[5]) for at, row in enumerate(rows(BARS))]),
        "24 of 240 rows are refused as not_a_number",
    ),
    "day or month first": (
        "btc.csv",
        lines(PLAIN, [(stamp(b, "%d/%m/%Y %H:%M"), *b.values) for b in BARS]),
        "times may be month/day/year or day/month/year",
    ),
    "a comma of unknown meaning": (
        "btc.csv",
        lines(PLAIN.replace(",", ";"), [(stamp(b), *("42,250",) * 4, "1,000") for b in BARS], ";"),
        "may separate decimals or thousands",
    ),
    "only quiet minutes": (
        "btc.csv",
        lines(PLAIN, [(stamp(b), *["NaN"] * 5) for b in BARS]),
        "only minutes without prices",
    ),
    "many decimals": (
        "btc.csv",
        lines(PLAIN, [(stamp(b), *(f"{v / 3e10:.14f}" for v in b.values[:4]), 1) for b in BARS]),
        "refused as too_many_decimals",
    ),
    "another currency beside the volume's": (
        "btc.csv",
        lines("unix,open,high,low,close,Volume BTC,Volume EUR", [(b.seconds, *b.values, 7) for b in BARS]),
        "its columns are of BTC/EUR",
    ),
    "two tickers side by side": (
        "yahoo.csv",
        "Price,Close,Close,High,High,Low,Low,Open,Open,Volume,Volume\n"
        + lines(
            f"Ticker{',ETH-USD,BTC-USD' * 5}",
            [
                (stamp(b), *(v for i in (3, 1, 2, 0, 4) for v in (e.values[i], b.values[i])))
                for b, e in zip(BARS, ETH, strict=True)
            ],
        ),
        "several columns are named",
    ),
    "another symbol in a title": (
        "btc.csv",
        "# symbol: ETHUSDT\n" + lines(PLAIN, rows(BARS)),
        "its columns are of ETH/USDT",
    ),
    "one asset after the other": (
        "prices.csv",
        lines(PLAIN, rows(BARS) + rows(sample_bars(price=2_280.0, first=BARS[-1].at + timedelta(minutes=1)))),
        "prices jump from",
    ),
    "an archive's folder of another symbol": (
        "d.zip",
        "",
        "it is named for ETH",
    ),
    "day or month first, with AM and PM": (
        "btc.csv",
        lines(PLAIN, [(stamp(b, "%d/%m/%Y %I:%M:%S %p"), *b.values) for b in BARS]),
        "times may be",
    ),
    "both orders of day and month": (
        "btc.csv",
        lines(
            PLAIN, [(stamp(b, "%m/%d/%Y %H:%M" if b.at.day < 13 else "%d/%m/%Y %H:%M"), *b.values) for b in TWO_DAYS]
        ),
        "some may have day and month swapped",
    ),
    "an offset later in the file": (
        "btc.csv",
        lines(PLAIN, rows(LONG[:450]) + [(f"{row[0]}-05:00", *row[1:]) for row in rows(LONG[450:])]),
        "some times have an offset",
    ),
    "German thousands without decimals": (
        "btc.csv",
        lines(
            PLAIN.replace(",", ";"),
            [(stamp(b), *(f"{v:,.0f}".replace(",", ".") for v in b.values[:4]), 4) for b in BARS],
            ";",
        ),
        "may separate decimals or thousands",
    ),
    "eight columns of unknown order": (
        "btc.csv",
        lines("", [(b.seconds * 1000, *b.values, b.seconds * 1000 + 59_999, 7) for b in BARS]),
        "of unknown order",
    ),
    "days": ("btc.csv", lines(PLAIN, [(stamp(b, "%Y-%m-%d"), *b.values) for b in BARS[:3]]), "without a time of day"),
    "no volume": (
        "btc.csv",
        lines("timestamp,open,high,low,close", [row[:5] for row in rows(BARS)]),
        "no column for volume",
    ),
    "times of another calendar": (
        "btc.csv",
        lines(PLAIN, [(f"Tue Jan 2 {b.at:%H:%M} 2024", *b.values) for b in BARS]),
        "is written in no known way",
    ),
    "milliseconds in scientific notation": (
        "btc.csv",
        lines(PLAIN, [(f"{b.seconds * 1000:.5E}", *b.values) for b in BARS]),
        "btc.csv",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_contradicts_itself_is_refused_whole(tmp_path: Path, name: str) -> None:
    file_name, text, seen = REFUSED[name]
    content = zipped({"ETHUSDT/1m.csv": lines(PLAIN, rows(ETH))}) if file_name == "d.zip" else text
    with pytest.raises(PriceFileError) as refused:
        stage(written(tmp_path, file_name, content), now=datetime(2025, 1, 1, 12, 0, 30, tzinfo=UTC))
    assert seen in str(refused.value)
    assert str(refused.value).startswith(file_name)
    assert "nothing was stored" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("change", "content"), [(SPRING, SPRING_ROWS), (FALL, FALL_ROWS)])
@pytest.mark.parametrize("newest_first", [False, True])
def test_a_local_clock_is_read_when_its_zone_is_named(
    tmp_path: Path, change: datetime, content: list[tuple[object, ...]], newest_first: bool
) -> None:
    path = written(tmp_path, "btc.csv", lines(PLAIN, content[::-1] if newest_first else content))
    with stage_price_files([path], NOW, Expectation("BTC", "America/New_York")) as bars:
        minutes = [int(minute) for block in bars.blocks() for minute in block.minutes]
    first = int((change - timedelta(hours=2)).timestamp()) // 60
    assert minutes == list(range(first, first + 300))


def test_a_zone_that_skips_an_hour_of_the_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "btc.csv", lines(PLAIN, rows(sample_bars(12_000, first=SPRING - timedelta(days=2)))))
    with (
        pytest.raises(PriceFileError, match="60 rows are in an hour that America/New_York skips"),
        stage_price_files([path], NOW, Expectation("BTC", "America/New_York")),
    ):
        pass


@pytest.mark.parametrize(
    "content",
    [
        lines(PLAIN, rows(BARS[:120]), end="\n") + lines("", rows(BARS[120:]), end="\r\n"),
        lines(PLAIN, rows(BARS[:120])) + lines(PLAIN, rows(BARS[120:])),
        lines(PLAIN, rows(BARS)) + ",,,,,\n,,,,,\n",
    ],
    ids=["mixed line breaks", "a header between", "empty rows at the end"],
)
def test_what_is_no_row_does_not_matter(tmp_path: Path, content: str) -> None:
    with stage_price_files([written(tmp_path, "btc.csv", content)], NOW, Expectation("BTC")) as staged:
        assert (staged.accepted, staged.quarantined) == (len(BARS), 0)


def test_an_unknown_zone_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "btc.csv", lines(PLAIN, FALL_ROWS))
    with (
        pytest.raises(PriceFileError, match="unknown time zone 'New_York'"),
        stage_price_files([path], NOW, Expectation("BTC", "New_York")),
    ):
        pass


def test_a_misleading_name_can_be_accepted(tmp_path: Path) -> None:
    path = written(tmp_path, "eth_bot.csv", lines(PLAIN, rows(BARS)))
    with stage_price_files([path], NOW, Expectation("BTC", accept_symbol=True)) as bars:
        assert bars.accepted == len(BARS)


def test_only_the_symbols_minutes_are_taken_from_a_folder_and_the_rest_is_named(tmp_path: Path) -> None:
    written(tmp_path, "BTCUSDT-1m.csv", lines(PLAIN, rows(BARS)))
    written(tmp_path, "BTCUSDT-1h.csv", lines(PLAIN, rows(BARS[::60])))
    written(tmp_path, "ETHUSDT-1m.csv", lines(PLAIN, rows(ETH)))
    with stage_price_files([tmp_path], NOW, Expectation("BTC")) as bars:
        assert [source.name for source in bars.sources] == ["BTCUSDT-1m.csv"]
        assert dict(bars.skipped) == {
            "BTCUSDT-1h.csv": "it is named for bars of 60 minutes",
            "ETHUSDT-1m.csv": "it is named for ETH/USDT, not BTC in USD",
        }


def test_one_damaged_row_of_many_does_not_fill_the_quarantine(tmp_path: Path) -> None:
    bars = sample_bars(150_000, first=datetime(2024, 1, 1, tzinfo=UTC))
    content = [(*row[:4], "x" if at % 125 == 0 else row[4], row[5]) for at, row in enumerate(rows(bars))]
    with stage_price_files([written(tmp_path, "btc.csv", lines(PLAIN, content))], NOW, Expectation("BTC")) as staged:
        assert staged.reasons == {"not_a_number": 1_200}
        assert len(list(staged.quarantined_rows())) == 1_000


def test_prices_that_went_through_32_bits_get_their_digits_back(tmp_path: Path) -> None:
    import numpy as np

    content = [(stamp(b), *(float(np.float32(v)) for v in b.values[:4]), b.volume) for b in BARS]
    with stage_price_files([written(tmp_path, "btc.csv", lines(PLAIN, content))], NOW, Expectation("BTC")) as staged:
        assert staged.summaries[0].rounded == len(BARS)
        assert [block.values[3].tolist() for block in staged.blocks()] == [[bar.close for bar in BARS]]
