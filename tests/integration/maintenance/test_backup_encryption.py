"""Encrypted backups: nobody reads them without the key, and with it they restore."""

import hashlib
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pipelines.errors import BackupError
from pipelines.maintenance.backup import Backup, create_backup, read_backup, verify_backup
from pipelines.maintenance.restore import restore
from pipelines.storage.maintenance.restored_databases import drop_database, table_facts
from pipelines.storage.postgres.connection import Database

pytestmark = pytest.mark.needs("age", "gpg")

MARKER = "as clear as daylight"
OURS, STRANGERS = "ours", "strangers"


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def marked(database: Database) -> Database:
    with database.connect("test", None) as connection:
        connection.execute("CREATE TABLE marked AS SELECT %s::text AS said, n FROM generate_series(1, 9) n", [MARKER])
    return database


@pytest.fixture(scope="module")
def keys() -> Iterator[Path]:
    """Keys of both tools, ours and a stranger's; in a short path, for the socket of gpg's agent."""
    with TemporaryDirectory(prefix="keys-") as name:
        folder = Path(name)
        for whose in (OURS, STRANGERS):
            with (folder / f"{whose}.recipients").open("w") as recipients:
                subprocess.run(["age-keygen", "-o", folder / f"{whose}.age"], capture_output=True, check=True)
                subprocess.run(["age-keygen", "-y", folder / f"{whose}.age"], stdout=recipients, check=True)
            ring = folder / f"{whose}.gpg"
            ring.mkdir(mode=0o700)
            gpg = ["gpg", "--batch", "--homedir", ring]
            making = ["--passphrase", "", "--quick-generate-key", f"{whose}@example.org", "rsa2048", "encrypt"]
            subprocess.run([*gpg, *making], capture_output=True, check=True)
            subprocess.run([*gpg, "--output", folder / f"{whose}.public", "--export"], capture_output=True, check=True)
        try:
            yield folder
        finally:
            for whose in (OURS, STRANGERS):
                subprocess.run(["gpgconf", "--homedir", folder / f"{whose}.gpg", "--kill", "all"], check=True)


def encrypted(database: Database, folder: Path, keys: Path, tool: str) -> Backup:
    public = keys / (f"{OURS}.recipients" if tool == "age" else f"{OURS}.public")
    return create_backup(database, folder, encrypt_to=f"{tool}:{public}")


@pytest.mark.parametrize("tool", ["age", "gpg"])
def test_an_encrypted_backup_restores_with_its_key_only(
    marked: Database, keys: Path, tmp_path: Path, tool: str
) -> None:
    made = encrypted(marked, tmp_path, keys, tool)
    assert sorted(path.name for path in made.folder.iterdir()) == [
        f"database.dump.{tool}",
        "manifest.json",
        f"roles.sql.{tool}",
    ]
    assert made.manifest.encryption == tool
    for path in made.folder.glob(f"*.{tool}"):
        assert not path.read_bytes().startswith((b"PGDMP", b"--"))
        assert b"strikecast_owner" not in path.read_bytes()
    with pytest.raises(BackupError, match=rf"database.dump.{tool} cannot be decrypted with .*{STRANGERS}.{tool}: \w"):
        restore(marked, made, "never_made", now(), identity=keys / f"{STRANGERS}.{tool}")
    with pytest.raises(BackupError, match=f"is encrypted with {tool}: set `identity`"):
        restore(marked, made, "never_made", now())
    name = f"{marked.parameters['dbname']}_{tool}"
    try:
        done = restore(marked, made, name, now(), identity=keys / f"{OURS}.{tool}")
        assert done.differences == ()
        assert table_facts(Database(marked.url_for(name))) == made.manifest.tables
    finally:
        drop_database(marked, name)


def test_without_the_key_its_sha256_is_compared_and_a_wrong_key_is_no_damage(
    marked: Database, keys: Path, tmp_path: Path
) -> None:
    made = encrypted(marked, tmp_path, keys, "age")
    found = verify_backup(made, now())
    assert (found.problem, found.content_read) == (None, False)
    with pytest.raises(BackupError, match="cannot be decrypted"):
        verify_backup(made, now(), keys / f"{STRANGERS}.age")
    found = verify_backup(made, now(), keys / f"{OURS}.age")
    assert (found.problem, found.content_read) == (None, True)
    content = bytearray(made.dump.read_bytes())
    content[len(content) // 2] ^= 1
    made.dump.write_bytes(content)
    assert verify_backup(made, now()).problem == "database.dump.age is not what was written: its SHA-256 differs"


def test_what_was_no_dump_when_it_was_encrypted_is_damaged_not_locked(
    keys: Path, marked: Database, tmp_path: Path
) -> None:
    """As if the manifest were right and what went into it wrong."""
    made = encrypted(marked, tmp_path, keys, "age")
    encrypt = ["age", "-R", keys / f"{OURS}.recipients", "-o", made.dump]
    subprocess.run(encrypt, input=b"PGDMP and then nothing", check=True)
    digest = hashlib.sha256(made.dump.read_bytes()).hexdigest()
    manifest = (made.folder / "manifest.json").read_text()
    (made.folder / "manifest.json").write_text(manifest.replace(made.manifest.files[0].sha256, digest))
    problem = verify_backup(read_backup(made.folder), now(), keys / f"{OURS}.age").problem
    assert problem is not None
    assert problem.startswith("pg_restore cannot read it: ")


@pytest.mark.parametrize("sealed_for", ["age:age1nobody", "gpg:nobody@example.org"])
def test_a_recipient_that_is_none_is_told_before_anything_is_written(
    database: Database, tmp_path: Path, sealed_for: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GNUPGHOME", str(tmp_path))
    with pytest.raises(BackupError, match=rf"cannot encrypt with {sealed_for}: .*\(exit code 10\)"):
        create_backup(database, tmp_path / "backups", encrypt_to=sealed_for)
    assert list((tmp_path / "backups").iterdir()) == []
