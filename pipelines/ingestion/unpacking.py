"""Find and unpack price files: folders, zip archives, gzip, zstd, and text in UTF-16."""

import codecs
import gzip
import hashlib
import re
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from mmap import ACCESS_READ, mmap
from pathlib import Path

import polars as pl
import zstandard

from pipelines.errors import PriceFileError, StrikecastError, printable, single_line
from pipelines.log import Log

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
SUFFIXES = (*TEXT_SUFFIXES, *JSON_SUFFIXES, ".parquet", ".feather", ".gz", ".zst", ".zip")
GZIP, ZSTD, ZIP, PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"PAR1"
ARROW_FILE, FEATHER_1 = b"ARROW1", b"FEA1"
#: An archive may contain compressed files, but no archive within an archive within an archive.
MAX_DEPTH = 3
#: Price files of one ingestion; each takes about 0.035 s, however small, and progress is reported.
MAX_FILES = 10_000
#: Of a file's name in messages and records.
MAX_NAME = 255
SAMPLE_BYTES = 65_536
#: Searched at once, since Python cannot do anything else meanwhile; no pattern is as long as the overlap.
WINDOW_BYTES, OVERLAP_BYTES = 64 << 20, 64
_ENCODINGS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass(frozen=True)
class PriceFile:
    """An unpacked file.

    `path`: UTF-8 text, JSON or Parquet, under a name without special characters, because DuckDB treats `*` and `[` as
    patterns. `name`: as the user knows it, members of archives as `archive.zip/member.csv`. `sha256`: of the file as it
    was found. `is_selected`: found in a folder or archive rather than named by the user. `kind`: text, json or parquet.
    """

    path: Path
    name: str
    sha256: str
    is_selected: bool
    kind: str

    @property
    def own_name(self) -> str:
        """The last part of `name`."""
        return self.name.rsplit("/", maxsplit=1)[-1]


@contextmanager
def as_price_file_error(name: str, problem: str) -> Iterator[None]:
    """Raise any error about a file's content as a PriceFileError with one line.

    For damaged content, zipfile, zlib, zstandard, DuckDB and polars raise their own errors and a dozen of Python's;
    polars even raises panics, which are no Exception.
    """
    try:
        yield
    except StrikecastError:
        raise
    except (Exception, pl.exceptions.PanicException) as error:
        text = single_line(str(error), 300) or type(error).__name__
        raise PriceFileError(f"{name} {problem}: {text}; nothing was stored") from error


def find_price_files(paths: Sequence[Path], scratch: Path, doing: Log = lambda _: None) -> Iterator[PriceFile]:
    """The price files of files and folders, folders sorted by name, unpacked into `scratch`.

    `doing` is told what is being read. Raises PriceFileError when a path is missing, empty, damaged or of an unknown
    kind, or holds more than MAX_FILES price files.
    """
    targets = (scratch / f"file-{number}" for number in count())
    for path in paths:
        with as_price_file_error(printable(path.name, MAX_NAME), "cannot be opened"):
            if path.is_dir():
                doing(f"looking for price files in {path}")
                found = sorted(child for child in path.rglob("*") if child.is_file() and _is_price_name(child.name))
                _check_count(str(path), len(found))
            elif not path.exists():
                raise PriceFileError(f"{path} does not exist; nothing was stored")
            elif not path.is_file():
                raise PriceFileError(f"{path} is neither a file nor a folder; nothing was stored")
            else:
                found = [path]
        for number, child in enumerate(found, start=1):
            name = printable(child.name, MAX_NAME)
            doing(f"opening {name}, {number:,} of {len(found):,}")
            yield from _unpacked(child, name, targets, is_selected=child != path)


def _check_count(name: str, files: int) -> None:
    if not files:
        raise PriceFileError(f"{name} holds no price files ({', '.join(SUFFIXES)}); nothing was stored")
    if files > MAX_FILES:
        raise PriceFileError(
            f"{name} holds {files:,} price files, at most {MAX_FILES:,} can be ingested at once; nothing was stored. "
            "Join small files, or ingest them in parts"
        )


def _unpacked(
    path: Path, name: str, targets: Iterator[Path], *, is_selected: bool, depth: int = 0
) -> Iterator[PriceFile]:
    with as_price_file_error(name, "cannot be unpacked"):
        with path.open("rb") as stream:
            head = stream.read(SAMPLE_BYTES)
        if not head.strip():
            raise PriceFileError(f"{name} is empty; nothing was stored")
        if depth > MAX_DEPTH:
            raise PriceFileError(f"{name} is packed more than {MAX_DEPTH} times; nothing was stored")
        target = next(targets)
        if head.startswith(ZIP):
            for member in _unzipped(path, name, targets):
                yield from _unpacked(*member, targets, is_selected=True, depth=depth + 1)
        elif head.startswith((GZIP, ZSTD)):
            # DuckDB would accept a damaged or truncated stream.
            opener = gzip.open if head.startswith(GZIP) else zstandard.open
            with opener(path, "rb") as packed, target.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
            yield from _unpacked(target, name, targets, is_selected=is_selected, depth=depth + 1)
        else:
            _check_suffix(name, head, is_unpacked=depth > 0)
            readable = _readable(path, name, head, target)
            yield PriceFile(readable, name, sha256_of(path), is_selected, _kind(head))


def _unzipped(path: Path, name: str, targets: Iterator[Path]) -> Iterator[tuple[Path, str]]:
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if _is_price_name(member.filename)]
        _check_count(name, len(members))
        for member in members:
            unzipped = next(targets)
            with archive.open(member) as packed, unzipped.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
            if unzipped.stat().st_size != member.file_size:  # the checksum of a truncated member is not compared
                raise EOFError(f"{member.filename} ends early")
            yield unzipped, printable(f"{name}/{member.filename}", MAX_NAME)


def _kind(head: bytes) -> str:
    if head.startswith((PARQUET, ARROW_FILE)):
        return "parquet"
    return "json" if head.lstrip(codecs.BOM_UTF8 + b" \t\r\n")[:1] in {b"[", b"{"} else "text"


def _check_suffix(name: str, head: bytes, *, is_unpacked: bool) -> None:
    """Raise PriceFileError for content of another kind than the file's name says."""
    if head[257:262] == b"ustar":
        raise PriceFileError(f"{name} is a tar archive: unpack it first; nothing was stored")
    for suffix in Path(name.lower()).suffixes[-2:]:
        is_packed = suffix in {".gz", ".zst", ".zip"} and not is_unpacked
        is_columnar = suffix in {".parquet", ".feather"} and not head.startswith((PARQUET, ARROW_FILE, FEATHER_1))
        if is_packed or is_columnar:
            raise PriceFileError(f"{name} is not a {suffix[1:]} file; nothing was stored")


def _readable(path: Path, name: str, head: bytes, target: Path) -> Path:
    """A path whose content DuckDB reads: the file itself, converted if it is Feather or not UTF-8."""
    if head.startswith(ARROW_FILE):
        with as_price_file_error(name, "cannot be read as Feather"):
            # Without statistics: a file may claim to be sorted, and polars would take its first and last rows for them.
            pl.scan_ipc(path).sink_parquet(target, statistics=False)
        return target
    if head.startswith(FEATHER_1):
        raise PriceFileError(f"{name} is Feather version 1; write version 2, for example by pandas; nothing was stored")
    is_text = not head.startswith(PARQUET)
    encoding = _encoding(name, head) if is_text else None
    if not is_text or (encoding is None and not contains(path, rb"\r")):
        target.symlink_to(path.absolute())
        return target
    try:
        # Universal line breaks: DuckDB refuses files that mix them. Bytes that are not UTF-8 stay as they are.
        errors = "surrogateescape" if encoding is None else "strict"
        with (
            path.open(encoding=encoding or "utf-8", errors=errors) as text,
            target.open("w", encoding="utf-8", errors=errors, newline="\n") as written,
        ):
            while chunk := text.read(1 << 20):
                written.write(chunk.replace("\ufeff", ""))
    except UnicodeError as error:
        raise PriceFileError(f"{name} is not {encoding} throughout: {error}; nothing was stored") from error
    return target


def contains(path: Path, pattern: bytes, *, after_first_line: bool = False) -> bool:
    """Whether a regular expression occurs anywhere in a file, however large; the file must not be empty."""
    search = re.compile(pattern).search
    with path.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as content:
        start = content.find(b"\n") + 1 if after_first_line else 0
        windows = range(start, len(content), WINDOW_BYTES)
        return any(search(content, at, at + WINDOW_BYTES + OVERLAP_BYTES) is not None for at in windows)


def _encoding(name: str, head: bytes) -> str | None:
    """The encoding to convert from; None for UTF-8 without a byte-order mark."""
    for mark, encoding in _ENCODINGS.items():
        if head.startswith(mark):
            return encoding
    for parity, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        half = head[parity : len(head) // 2 * 2 : 2]
        if half and half.count(0) > 0.9 * len(half):
            return encoding
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        raise PriceFileError(
            f"{name} is neither text in UTF-8 or UTF-16 nor Parquet, Feather, gzip, zstd or zip; nothing was stored"
        ) from None
    return None


def _is_price_name(name: str) -> bool:
    """Whether a file of a folder or archive is a price file; hidden files, which some systems add, are not."""
    hidden = any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
    return not hidden and name.lower().endswith(SUFFIXES)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
