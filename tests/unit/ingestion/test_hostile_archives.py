"""Archives: damaged members are one line; too many files are refused at once; what lasts is reported."""

import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzzing import accepted_or_refused
from price_file_formats import zipped
from small_price_files import NOW, THREE, bar, iso, padded, stage, written

from pipelines.errors import MAX_MESSAGE, PriceFileError
from pipelines.ingestion import price_files, unpacking
from pipelines.ingestion.price_files import stage_price_files
from pipelines.ingestion.understanding import Expectation
from pipelines.log import heartbeat

WHOLE = zipped({"btc.csv": THREE}, zipfile.ZIP_STORED)
CENTRAL = WHOLE.index(b"PK\x01\x02")


def changed(offset: int, *pieces: tuple[int, bytes]) -> bytes:
    """The archive with bytes of the local header (offset 0) or of the central directory replaced."""
    content = bytearray(WHOLE)
    for at, piece in pieces:
        content[offset + at : offset + at + len(piece)] = piece
    return bytes(content)


def with_method(method: int) -> bytes:
    content = bytearray(WHOLE)
    content[8:10] = content[CENTRAL + 10 : CENTRAL + 12] = struct.pack("<H", method)
    return bytes(content)


def encrypted() -> bytes:
    content = bytearray(WHOLE)
    content[6] |= 1
    content[CENTRAL + 8] |= 1
    return bytes(content)


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "wrong checksum": lambda: WHOLE.replace(b"105", b"106", 1),
    "truncated member": lambda: WHOLE[:60],
    "without a directory": lambda: WHOLE[:CENTRAL],
    "encrypted": encrypted,
    "deflate of what is not": lambda: with_method(8),
    "deflate64": lambda: with_method(9),
    "bzip2 of what is not": lambda: with_method(12),
    "lzma of what is not": lambda: with_method(14),
    "an unknown method": lambda: with_method(99),
    "a directory entry that points beyond the end": lambda: changed(CENTRAL, (42, b"\xff\xff\xff\x7f")),
    "another name in the member": lambda: changed(0, (30, b"eth")),
    "a size that is not that of the member": lambda: changed(CENTRAL, (24, b"\xff\xff\xff\x00")),
    "a member whose name is escape sequences": lambda: zipped({"\x1b[2J\u202e.csv": "no prices"}),
    "a member whose name is long": lambda: zipped({"x" * 60_000 + ".csv": "no prices"}),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_damaged_archive_is_one_printable_line(tmp_path: Path, kind: str) -> None:
    with accepted_or_refused() as outcome:
        stage(written(tmp_path, "btc.zip", ARCHIVES[kind]()))
    assert outcome.refusal is not None
    assert outcome.refusal.startswith("btc.zip")


def test_a_file_whose_name_and_content_are_escape_sequences_is_named_in_printable_characters(tmp_path: Path) -> None:
    path = written(tmp_path, "\x1b]0;title\x07\n\u202e.csv", "\x1b[31m" * 2_000)
    with pytest.raises(PriceFileError) as error:
        stage(path)
    assert str(error.value).startswith(r"\x1b]0;title\x07\n\u202e.csv: ")
    assert str(error.value).isprintable()
    assert len(str(error.value)) <= MAX_MESSAGE


def test_too_many_files_are_refused_before_they_are_read(tmp_path: Path) -> None:
    members = {f"{number}.csv": "" for number in range(20_000)}
    path = written(tmp_path, "btc.zip", zipped(members, zipfile.ZIP_STORED))
    began = time.process_time()
    with pytest.raises(PriceFileError, match="20,000 price files, at most 10,000"):
        stage(path)
    assert time.process_time() - began < 5


def test_files_of_several_archives_are_counted_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_FILES", 3)
    monkeypatch.setattr(price_files, "MAX_FILES", 3)
    archive = zipped({f"{number}.csv": THREE for number in range(2)})
    for number in range(3):
        written(tmp_path, f"{number}.zip", archive)
    with pytest.raises(PriceFileError, match="more than 3 price files"):
        stage(tmp_path)


def test_a_pipe_or_device_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    for path in (Path("/dev/zero"), Path("/dev/stdin")):
        with pytest.raises(PriceFileError, match=r"neither a file nor a folder|does not exist"):
            stage(path)


def test_what_lasts_is_reported(tmp_path: Path) -> None:
    said: list[str] = []
    written(tmp_path, "btc.zip", zipped({f"{number}.csv": THREE for number in range(40)}))
    with (
        heartbeat(said.append, every_seconds=0.02) as doing,
        stage_price_files([tmp_path / "btc.zip"], NOW, Expectation("BTC"), doing=doing),
    ):
        pass
    assert any("reading btc.zip/" in line and "of 40" in line for line in said)


def test_a_cell_of_a_megabyte_is_quarantined_in_part(tmp_path: Path) -> None:
    damaged = f"{iso(3)},{bar(3)}\n".replace("110", '"' + "x" * 1_000_000 + '"')
    found = stage(written(tmp_path, "btc.csv", padded(THREE + damaged)))
    assert [reason for _, reason in found.rows] == ["not_a_number"]
    assert len(found.quarantined[0].raw) < 10_000


ZONES = (
    "",
    " ",
    "\x00",
    "America",
    "America/New_York\n",
    "../../etc/passwd",
    "/etc/passwd",
    "x" * 5_000,
    "\udcff",
    "\x1b[31m",
)


@pytest.mark.parametrize("zone", ZONES)
def test_a_time_zone_that_is_none_is_one_printable_line(tmp_path: Path, zone: str) -> None:
    path = written(tmp_path, "btc.csv", THREE)
    with accepted_or_refused() as outcome, stage_price_files([path], NOW, Expectation("BTC", time_zone=zone)):
        pass
    assert outcome.refusal is not None
