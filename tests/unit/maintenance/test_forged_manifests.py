"""Manifests and other files of a backup's folder that anybody may have written: refused with one line, or read."""

import copy
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st

from pipelines.domain.maintenance.backups import Manifest, parse_manifest
from pipelines.errors import BackupError
from pipelines.maintenance.backup import MANIFEST, VERIFIED, list_backups, read_backup, verify_backup
from pipelines.maintenance.signatures import SIGNATURE, Origin, ensure_key, origin, read_key, sign

VALID: dict[str, Any] = {
    "format": 1,
    "facts": {
        "database": "strikecast",
        "server_version": "18.1",
        "server_size_bytes": 7,
        "snapshot_at": "2026-07-12T03:00:00.000Z",
    },
    "client_version": "18.1",
    "compression": "zstd:3",
    "encryption": "",
    "seconds": 3,
    "files": [{"name": name, "bytes": 1, "sha256": "a" * 64} for name in ("database.dump", "roles.sql")],
    "dagster": {"facts": {}, "tables": [{"table": "public.runs", "rows": 1, "checksum": "1"}]},
    "tables": [{"table": "a.b", "rows": 2, "checksum": "-33"}],
}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["../../etc/passwd", "x" * 3_000, "9" * 5_000, "1.e", "0000-00-00", "9999-12-31T23:59:59-23:59", "a\nb"]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def paths(value: object, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(path for key, child in children for path in paths(child, (*here, key)))]


PATHS = paths(VALID)


@st.composite
def changed_manifests(draw: st.DrawFn) -> object:
    """The valid manifest with some of its values replaced or removed."""
    found: Any = copy.deepcopy(VALID)
    for path in draw(st.lists(st.sampled_from(PATHS[1:]), min_size=1, max_size=3)):
        parent = found
        try:
            for key in path[:-1]:
                parent = parent[key]
            if draw(st.booleans()):
                parent[path[-1]] = draw(JSON)
            else:
                del parent[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue
    return found


def require_plain(manifest: Manifest) -> None:
    assert manifest.snapshot_at.tzinfo is not None
    assert manifest.encryption in {None, "age", "gpg"}
    assert int(manifest.server_version.split(".")[0]) >= 0
    assert manifest.rows >= 0
    assert manifest.bytes >= 0
    for one in manifest.files:
        assert "/" not in one.name
        assert not one.name.startswith(".")
    for table in manifest.tables:
        assert table.table.isprintable()
        int(table.checksum)


@examples(100, 20_000)
@given(changed_manifests() | JSON)
def test_a_changed_manifest_is_refused_or_plain(raw: object) -> None:
    started = time.monotonic()
    try:
        manifest = parse_manifest(raw)
    except ValueError as error:
        message = str(error)
    else:
        message = ""
        require_plain(manifest)
    assert "\n" not in message
    assert len(message) < 300
    assert time.monotonic() - started < 10


def test_the_valid_manifest_is_read() -> None:
    assert parse_manifest(VALID).dagster_tables is not None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"format": ' + b"9" * 5_000 + b"}",
        b"null",
        b'"x"',
        b"{}",
        b'{"format": 1e400}',
    ],
)
def test_a_damaged_manifest_is_one_line_and_no_backup(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "strikecast-20260712T030000Z"
    folder.mkdir()
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(BackupError, match="is not a valid backup: its manifest cannot be read") as raised:
        read_backup(folder)
    assert "\n" not in str(raised.value)
    assert list_backups(tmp_path) == []


@pytest.mark.parametrize(
    "check",
    [
        b"[]",
        b"3",
        b'{"at": "2026-07-12T03:00:00", "problem": null}',
        b'{"at": 1}',
        b'{"at": "2026-07-12T03:00:00Z", "problem": {}}',
    ],
)
def test_a_damaged_verification_does_not_count(tmp_path: Path, check: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(orjson.dumps(VALID))
    (tmp_path / VERIFIED).write_bytes(check)
    assert read_backup(tmp_path).verified_at is None


def test_a_manifest_that_lists_no_dump_is_damaged(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    (tmp_path / MANIFEST).write_bytes(orjson.dumps({**VALID, "files": [], "dagster": None}))
    found = verify_backup(read_backup(tmp_path), datetime.now(UTC))
    assert found.problem == "its manifest does not list database.dump, roles.sql"


@examples(100, 1_000)
@given(manifest=st.binary(max_size=2_000), change=st.integers(0, 2**31))
def test_a_signature_fits_one_manifest_and_one_key(tmp_path: Path, manifest: bytes, change: int) -> None:
    key_path = ensure_key(tmp_path / "key")
    key = read_key(key_path)
    assert key is not None
    (tmp_path / SIGNATURE).write_text(sign(manifest, key))
    assert origin(tmp_path, manifest, key_path) is Origin.OURS
    assert origin(tmp_path, manifest + b" ", key_path) is Origin.OTHER
    digits = list(sign(manifest, key))
    digits[change % 64] = "0" if digits[change % 64] != "0" else "1"
    (tmp_path / SIGNATURE).write_text("".join(digits))
    assert origin(tmp_path, manifest, key_path) is Origin.OTHER
