"""Encrypted backups: unreadable without the key, restorable with it."""

import hashlib
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from backups import UNSIGNED

from pipelines.configuration.sections import BackupSettings
from pipelines.errors import BackupError
from pipelines.maintenance.backup import Backup, create_backup, read_backup, verify_backup
from pipelines.maintenance.restore import restore
from pipelines.storage.maintenance.restored_databases import drop_database, table_facts
from pipelines.storage.postgres.connection import Database

pytestmark = pytest.mark.needs("age", "gpg")

MARKER = "plain text"
OWN, FOREIGN = "own", "foreign"


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def marked(database: Database) -> Database:
    with database.connect("test", None) as connection:
        connection.execute("CREATE TABLE marked AS SELECT %s::text AS text, n FROM generate_series(1, 9) n", [MARKER])
    return database


@pytest.fixture(scope="module")
def keys() -> Iterator[Path]:
    """Own and foreign keys of both tools; the path is short because of the socket of gpg's agent."""
    with TemporaryDirectory(prefix="keys-") as name:
        folder = Path(name)
        for owner in (OWN, FOREIGN):
            with (folder / f"{owner}.recipients").open("w") as recipients:
                subprocess.run(["age-keygen", "-o", folder / f"{owner}.age"], capture_output=True, check=True)
                subprocess.run(["age-keygen", "-y", folder / f"{owner}.age"], stdout=recipients, check=True)
            ring = folder / f"{owner}.gpg"
            ring.mkdir(mode=0o700)
            gpg = ["gpg", "--batch", "--homedir", ring]
            making = ["--passphrase", "", "--quick-generate-key", f"{owner}@example.org", "rsa2048", "encrypt"]
            subprocess.run([*gpg, *making], capture_output=True, check=True)
            subprocess.run([*gpg, "--output", folder / f"{owner}.public", "--export"], capture_output=True, check=True)
        try:
            yield folder
        finally:
            for owner in (OWN, FOREIGN):
                subprocess.run(["gpgconf", "--homedir", folder / f"{owner}.gpg", "--kill", "all"], check=True)


def encrypted(database: Database, folder: Path, keys: Path, tool: str) -> Backup:
    public = keys / (f"{OWN}.recipients" if tool == "age" else f"{OWN}.public")
    return create_backup(database, folder, BackupSettings(encrypt_to=f"{tool}:{public}"))


@pytest.mark.parametrize("tool", ["age", "gpg"])
def test_an_encrypted_backup_restores_only_with_its_key(
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
    with pytest.raises(BackupError, match=rf"database.dump.{tool} cannot be decrypted with .*{FOREIGN}.{tool}: \w"):
        restore(marked, made, "not_created", now(), identity=keys / f"{FOREIGN}.{tool}", trust=UNSIGNED)
    with pytest.raises(BackupError, match=f"is encrypted with {tool}: set `identity`"):
        restore(marked, made, "not_created", now(), trust=UNSIGNED)
    name = f"{marked.parameters['dbname']}_{tool}"
    try:
        done = restore(marked, made, name, now(), identity=keys / f"{OWN}.{tool}", trust=UNSIGNED)
        assert done.differences == ()
        assert table_facts(Database(marked.url_for(name))) == made.manifest.tables
    finally:
        drop_database(marked, name)


def test_without_the_key_only_the_sha256_is_compared_and_a_wrong_key_is_not_damage(
    marked: Database, keys: Path, tmp_path: Path
) -> None:
    made = encrypted(marked, tmp_path, keys, "age")
    found = verify_backup(made, now())
    assert (found.problem, found.content_read) == (None, False)
    with pytest.raises(BackupError, match="cannot be decrypted"):
        verify_backup(made, now(), keys / f"{FOREIGN}.age")
    found = verify_backup(made, now(), keys / f"{OWN}.age")
    assert (found.problem, found.content_read) == (None, True)
    content = bytearray(made.dump.read_bytes())
    content[len(content) // 2] ^= 1
    made.dump.write_bytes(content)
    assert verify_backup(made, now()).problem == "database.dump.age has another SHA-256 than in the manifest"


def test_an_encrypted_invalid_dump_is_damaged_rather_than_undecryptable(
    keys: Path, marked: Database, tmp_path: Path
) -> None:
    """The SHA-256 is correct, but the encrypted content is not a dump."""
    made = encrypted(marked, tmp_path, keys, "age")
    encrypt = ["age", "-R", keys / f"{OWN}.recipients", "-o", made.dump]
    subprocess.run(encrypt, input=b"PGDMP and then nothing", check=True)
    digest = hashlib.sha256(made.dump.read_bytes()).hexdigest()
    manifest = (made.folder / "manifest.json").read_text()
    (made.folder / "manifest.json").write_text(manifest.replace(made.manifest.files[0].sha256, digest))
    problem = verify_backup(read_backup(made.folder), now(), keys / f"{OWN}.age").problem
    assert problem is not None
    assert problem.startswith("pg_restore cannot read database.dump.age: ")


@pytest.mark.parametrize("recipient", ["age:age1invalid", "gpg:unknown@example.org"])
def test_an_invalid_recipient_is_reported_before_anything_is_written(
    database: Database, tmp_path: Path, recipient: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GNUPGHOME", str(tmp_path))
    with pytest.raises(BackupError, match=rf"cannot encrypt with {recipient}: .*\(exit code 10\)"):
        create_backup(database, tmp_path / "backups", BackupSettings(encrypt_to=recipient))
    assert list((tmp_path / "backups").iterdir()) == []
