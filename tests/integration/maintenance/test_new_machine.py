"""A backup on a machine that has nothing else: no database, no roles, no Dagster."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from shutil import copy2, copytree

import dagster as dg
import psycopg
import pytest
from programs import postgresql_with_contrib
from server_folders import server_folder
from small_builds import build_generation

from pipelines.configuration.sections import BackupSettings
from pipelines.maintenance.backup import Backup, create_backup
from pipelines.service.instance import prepared_instance
from pipelines.settings import load_settings
from pipelines.storage.maintenance.restored_databases import has_tables
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.embedded import EmbeddedServer

SYMBOLS = '{"BTC": {"strike_tier_usd": 0.25}}'
ROLES = """
CREATE ROLE ann LOGIN;
ALTER ROLE ann SET statement_timeout TO '7s';
GRANT strikecast_reader TO ann;
CREATE ROLE billing LOGIN;
ALTER DATABASE strikecast SET work_mem TO '6MB';
ALTER ROLE ann IN DATABASE strikecast SET search_path TO analytics, public;
REVOKE CONNECT ON DATABASE strikecast FROM PUBLIC;
GRANT CONNECT ON DATABASE strikecast TO ann
"""


@dg.op
def nothing() -> None:
    pass


@dg.job
def remembered() -> None:
    nothing()


@dataclass(frozen=True)
class Machine:
    """A server and the variables of commands that use it; `embedded`: by its home folder, otherwise by its URL."""

    home: Path
    server: EmbeddedServer
    variables: Mapping[str, str]
    embedded: bool

    @property
    def key(self) -> Path:
        return self.home / "backup-signing.key"

    @property
    def database(self) -> Database:
        return Database(self.server.url())

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipelines.cli", *arguments],
            env={**self.variables, **variables},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    def rows(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        with psycopg.connect(self.server.url(database)) as connection:
            return connection.execute(statement.encode()).fetchall()


@contextmanager
def machine(programs: Path | None) -> Iterator[Machine]:
    """A new machine: an empty home folder, or a new server of another version, with only the role `postgres`."""
    with server_folder() as folder:
        home = folder / "home"
        server = EmbeddedServer(home / "postgres", programs=programs)
        variables = {
            name: value for name, value in os.environ.items() if not name.startswith(("STRIKECAST_", "DAGSTER_"))
        }
        variables |= {"STRIKECAST_HOME": str(home), "STRIKECAST_SYMBOLS": SYMBOLS, "NO_COLOR": "1", "COLUMNS": "200"}
        if programs is not None:
            variables["STRIKECAST_DATABASE_URL"] = server.url()
        with server.running() if programs is not None else nullcontext():
            yield Machine(home, server, variables, programs is None)


@pytest.fixture(
    scope="module", params=["embedded", pytest.param("installed", marks=pytest.mark.needs("PostgreSQL with contrib"))]
)
def programs(request: pytest.FixtureRequest) -> Path | None:
    return None if request.param == "embedded" else postgresql_with_contrib()


@pytest.fixture(scope="module")
def lost(programs: Path | None) -> Iterator[Machine]:
    """The machine that the backups are of: bars, a published symbol, a reader's login, a finished Dagster run."""
    with machine(programs) as it, pytest.MonkeyPatch.context() as patch:
        for name in ("DAGSTER_HOME", "STRIKECAST_DAGSTER_URL"):
            patch.setenv(name, "")
        for name, value in it.variables.items():
            patch.setenv(name, value)
        with prepared_instance(load_settings()) as database:
            build_generation(database, "BTC", seed=1)
            with database.connect("test", None, autocommit=True) as connection:
                connection.execute("SELECT historical_data.create_symbol_partitions('BTC')")
                connection.execute(
                    "INSERT INTO historical_data.price_history VALUES ('BTC', '2024-01-01Z', 100, 101, 99, 100, 1)"
                )
                for statement in ROLES.split(";"):
                    connection.execute(statement.encode())
            with dg.DagsterInstance.get() as instance:
                instance.add_dynamic_partitions("symbol", ["BTC"])
                assert remembered.execute_in_process(instance=instance).success
            yield it


@pytest.fixture
def fresh(programs: Path | None) -> Iterator[Machine]:
    with machine(programs) as it:
        yield it


def copied(backup: Backup, to: Machine, key: Path | None = None) -> None:
    """Copy a backup, and the key of the machine that made it unless it is lost, too."""
    copytree(backup.folder, to.home / "backups" / backup.folder.name)
    if key is not None:
        copy2(key, to.key)


def databases(of: Machine) -> set[object]:
    return {name for (name,) in of.rows("SELECT datname FROM pg_database WHERE NOT datistemplate")}


def made(lost: Machine, folder: Path, dagster: str | None = "dagster", **options: str) -> Backup:
    return create_backup(lost.database, folder, BackupSettings(**options), dagster=dagster, key=lost.key)


def require_restored(fresh: Machine) -> None:
    """The facts that `lost` set up, on a running server."""
    assert databases(fresh) == {"postgres", "strikecast", "dagster"}
    assert fresh.rows("SELECT rolcanlogin, rolconfig FROM pg_roles WHERE rolname IN ('ann', 'billing')") == [
        (True, ["statement_timeout=7s"])
    ], "ann, and nobody of another project"
    with psycopg.connect(fresh.server.url("strikecast").replace("postgres@", "ann@")) as connection:
        assert connection.execute("SELECT count(*) FROM historical_data.price_history").fetchone() == (1,)
        assert connection.execute("SHOW work_mem").fetchone() == ("6MB",)
        assert connection.execute("SHOW search_path").fetchone() == ("analytics, public",)
    with fresh.database.connect("test", Role.BACKUP) as connection:
        assert connection.execute("SELECT pg_has_role('pg_read_all_data', 'MEMBER')").fetchone() == (True,)
    assert fresh.rows("SELECT has_database_privilege('strikecast_live', 'strikecast', 'CONNECT')") == [(False,)]
    assert fresh.rows("SELECT has_database_privilege('strikecast_owner', 'strikecast', 'CREATE')") == [(True,)]
    assert fresh.rows("SELECT partition FROM dynamic_partitions", "dagster") == [("BTC",)]
    assert fresh.rows("SELECT pipeline_name, status FROM runs", "dagster") == [("remembered", "SUCCESS")]


def test_one_command_restores_everything_and_does_not_overwrite_it(
    lost: Machine, fresh: Machine, tmp_path: Path
) -> None:
    backup = made(lost, tmp_path)
    copied(backup, fresh, lost.key)
    done = fresh.run("backup", "restore")
    assert done.returncode == 0, done.stderr
    assert "restored; start the system with `strikecast up`" in done.stdout
    with fresh.server.running():
        require_restored(fresh)
        again = fresh.run("backup", "restore")
        assert again.returncode == 1
        assert "database strikecast exists: restore with --into NAME" in again.stderr
        require_restored(fresh)
        with fresh.database.connect("test", None) as connection:
            connection.execute("DELETE FROM historical_data.price_history")
        fresh.rows("DELETE FROM dynamic_partitions RETURNING 1", "dagster")
        with fresh.database.connect("test", None) as connection:
            connection.execute("REVOKE strikecast_reader FROM ann")
        replaced = fresh.run("backup", "restore", backup.folder.name, "--replace")
        assert replaced.returncode == 0, replaced.stderr
        kept = databases(fresh) - {"postgres", "strikecast", "dagster"}
        assert {str(name).split("_before_")[0] for name in kept} == {"strikecast", "dagster"}
        assert all(str(name) in replaced.stdout for name in kept)
        assert fresh.rows("SELECT partition FROM dynamic_partitions", "dagster") == [("BTC",)]
        assert fresh.rows("SELECT pg_has_role('ann', 'strikecast_reader', 'MEMBER')") == [(False,)], "roles stay"


def test_a_machine_without_the_key_asks_before_it_restores(lost: Machine, fresh: Machine, tmp_path: Path) -> None:
    backup = made(lost, tmp_path)
    copied(backup, fresh)
    refused = fresh.run("backup", "restore")
    assert refused.returncode == 1
    assert f"{backup.folder.name} is signed, but the key is not here" in refused.stderr
    assert "add --accept-unsigned if nobody else can have written to its folder" in refused.stderr
    with_key = fresh.run("backup", "restore", "--into", "beside", STRIKECAST_BACKUP__SIGNING_KEY=str(lost.key))
    assert with_key.returncode == 0, with_key.stderr
    done = fresh.run("backup", "restore", "--accept-unsigned")
    assert done.returncode == 0, done.stderr
    with fresh.server.running():
        assert fresh.rows("SELECT partition FROM dynamic_partitions", "dagster") == [("BTC",)]


def test_a_drill_restores_both_databases_and_leaves_none(lost: Machine, fresh: Machine, tmp_path: Path) -> None:
    copied(made(lost, tmp_path), fresh, lost.key)
    done = fresh.run("backup", "drill", "--json")
    assert done.returncode == 0, done.stderr
    assert '"ladders": 1' in done.stdout
    assert "comparing every table of strikecast_drill_" in done.stderr
    assert "_dagster with the backup" in done.stderr
    with fresh.server.running():
        assert databases(fresh) == {"postgres"}


def test_a_backup_of_a_new_machine_is_a_backup_of_an_empty_schema(fresh: Machine) -> None:
    done = fresh.run("backup", "create", "--json")
    assert done.returncode == 0, done.stderr
    assert "was empty: the backup contains no prices" in done.stderr
    with fresh.server.running():
        assert has_tables(fresh.database)


def test_a_backup_without_dagsters_database_restores_and_says_what_is_missing(
    lost: Machine, fresh: Machine, tmp_path: Path
) -> None:
    copied(made(lost, tmp_path, dagster=None), fresh, lost.key)
    done = fresh.run("backup", "restore")
    assert done.returncode == 0, done.stderr
    assert "Dagster's database: the history of runs is lost" in " ".join(done.stdout.split())
    with fresh.server.running():
        assert databases(fresh) == {"postgres", "strikecast"}


@pytest.mark.needs("age")
def test_an_encrypted_backup_needs_the_identity(lost: Machine, fresh: Machine, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["age-keygen", "-o", key], capture_output=True, check=True)
    public = subprocess.run(["age-keygen", "-y", key], capture_output=True, text=True, check=True).stdout.strip()
    backup = made(lost, tmp_path / "backups", encrypt_to=f"age:{public}")
    assert {path.name for path in backup.folder.iterdir()} == {
        "database.dump.age",
        "dagster.dump.age",
        "roles.sql.age",
        "manifest.hmac",
        "manifest.json",
    }
    copied(backup, fresh, lost.key)
    refused = fresh.run("backup", "restore")
    assert refused.returncode == 1
    assert "is encrypted with age: set `identity`" in refused.stderr
    done = fresh.run("backup", "restore", STRIKECAST_BACKUP__IDENTITY=str(key))
    assert done.returncode == 0, done.stderr
    with fresh.server.running():
        require_restored(fresh)


def test_a_damaged_dump_of_dagster_is_not_restored(lost: Machine, fresh: Machine, tmp_path: Path) -> None:
    backup = made(lost, tmp_path)
    copied(backup, fresh, lost.key)
    dump = fresh.home / "backups" / backup.folder.name / "dagster.dump"
    content = bytearray(dump.read_bytes())
    content[len(content) // 2] ^= 1
    dump.write_bytes(content)
    done = fresh.run("backup", "restore", backup.folder.name)
    assert done.returncode == 1
    assert "is damaged: dagster.dump has another SHA-256" in done.stderr
    with fresh.server.running():
        assert databases(fresh) == {"postgres"}
