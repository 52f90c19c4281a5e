"""Commands, the Python functions and runs that read from `read_url`: a replica, and nothing else."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from replicas import execute, stopped_replay, streaming_replica
from server_folders import server_folder
from small_builds import build_generation
from system import System

import strikecast
from pipelines.deployment import scoring_databases
from pipelines.errors import ReplicaLagError
from pipelines.resources import default_resources
from pipelines.settings import load_settings
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.postgres.embedded import DATABASE, EmbeddedServer
from pipelines.storage.postgres.reading import read_state
from pipelines.storage.postgres.schema import migrate

LADDER = ("ladder", "BTC", "--price", "100", "--ttc", "900", "--momentum", "0.02", "--model", "momentum")
NOWHERE = "postgresql://postgres@127.0.0.1:9/strikecast"


@dataclass(frozen=True)
class Pair:
    """A server with a published generation of BTC, and its replica."""

    primary: EmbeddedServer
    replica: EmbeddedServer

    def analyst(self, home: Path, **variables: str) -> System:
        """The command line of an analyst who knows the replica only."""
        given = {"STRIKECAST_HOME": str(home), "STRIKECAST_READ_URL": self.replica.url(), "COLUMNS": "300"}
        return System(home, load_settings(), Database(self.replica.url()), {"NO_COLOR": "1", **given, **variables})


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with server_folder() as folder:
        primary = EmbeddedServer(folder / "a")
        with primary.running():
            database = Database(primary.url())
            migrate(database)
            build_generation(database, "BTC", seed=1)
            with streaming_replica(primary, folder / "b") as replica:
                yield Pair(primary, replica)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.parametrize(
    "arguments",
    [
        LADDER,
        ("query", "SELECT count(*) AS generations FROM analytics.model_version"),
        ("scores",),
        ("markets", "list"),
        ("export", "fingerprints", "BTC", "exported"),
    ],
    ids=" ".join,
)
def test_an_analysts_command_needs_the_replica_only_and_states_its_age(
    pair: Pair, home: Path, arguments: tuple[str, ...]
) -> None:
    completed = pair.analyst(home).invoke(*arguments)
    assert completed.returncode == 0, completed.stderr
    assert f"reading from {Database(pair.replica.url()).describe()}, a replica" in completed.stderr


def test_status_shows_the_replica_beside_the_primary_and_alone(pair: Pair, home: Path) -> None:
    alone = json.loads(pair.analyst(home).invoke("status", "--json").stdout)
    assert alone["replica"]["ok"] is True
    assert alone["replica"]["is_replica"] is True
    execute(pair.primary, "CREATE TABLE IF NOT EXISTS later ()", DATABASE)
    operator = pair.analyst(home, STRIKECAST_DATABASE_URL=pair.primary.url())
    both = json.loads(operator.invoke("status", "--json").stdout)
    assert both["schema"]["found"] == both["schema"]["needed"]
    assert both["replica"]["problem"] is None
    assert both["settings"]["read_database"] == both["replica"]["database"]
    assert "a replica" in operator.invoke("status").stdout
    other = operator.invoke("status", "--json", STRIKECAST_READ_URL=pair.primary.url("postgres"))
    assert "has no strikecast schema" in json.loads(other.stdout)["replica"]["problem"]


def test_a_replica_that_is_down_is_named_and_the_primary_is_not_read_instead(pair: Pair, home: Path) -> None:
    operator = pair.analyst(home, STRIKECAST_DATABASE_URL=pair.primary.url(), STRIKECAST_READ_URL=NOWHERE)
    completed = operator.invoke(*LADDER)
    assert completed.returncode == 1
    assert "cannot use the database at 127.0.0.1:9/strikecast" in completed.stderr
    assert "unset STRIKECAST_READ_URL to read from STRIKECAST_DATABASE_URL" in completed.stderr
    status = operator.invoke("status")
    assert status.returncode == 0
    assert "cannot use the database at 127.0.0.1:9" in status.stdout


def test_the_password_of_the_replica_is_not_shown(pair: Pair, home: Path) -> None:
    analyst = pair.analyst(home, STRIKECAST_READ_URL="postgresql://ann:s3cret@127.0.0.1:9/strikecast")
    for command in (("status",), ("status", "--json"), ("config", "show"), LADDER):
        completed = analyst.invoke(*command)
        assert "127.0.0.1" in completed.stdout + completed.stderr
        assert "s3cret" not in completed.stdout + completed.stderr


def test_scores_that_are_stored_are_read_from_the_replica(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIKECAST_DATABASE_URL", pair.primary.url())
    monkeypatch.setenv("STRIKECAST_READ_URL", pair.replica.url())
    execute(pair.primary, "CREATE TABLE IF NOT EXISTS just_written ()", DATABASE)
    with scoring_databases(load_settings(), lambda _: None, store=True) as (database, source):
        with database.connect("test", Role.PIPELINE) as connection:
            assert not read_state(connection).is_replica
        with source.connect("test", Role.READER) as connection:
            assert read_state(connection).is_replica
            assert connection.execute("SELECT to_regclass('just_written') IS NOT NULL").fetchone() == (True,)


def test_commands_that_write_use_the_primary(pair: Pair, home: Path) -> None:
    operator = pair.analyst(home, STRIKECAST_DATABASE_URL=pair.primary.url(), STRIKECAST_READ_URL=NOWHERE)
    completed = operator.invoke("migrate", "--json")
    assert completed.returncode == 0, completed.stderr
    assert json.loads(completed.stdout)["database"] == Database(pair.primary.url()).describe()


def test_scoring_up_to_an_instant_that_is_not_replayed_is_refused(pair: Pair, home: Path) -> None:
    with stopped_replay(pair.primary, pair.replica, "CREATE TABLE IF NOT EXISTS unreplayed ()"):
        completed = pair.analyst(home, STRIKECAST_READ_LAG_SECONDS="1").invoke("score", "BTC", "--to", "2999-01-01")
    assert completed.returncode == 1
    assert "has not replayed all commits up to" in completed.stderr


def test_python_reads_the_replica_and_says_how_old_it_is(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIKECAST_READ_URL", pair.replica.url())
    execute(pair.primary, "CREATE TABLE IF NOT EXISTS fresh ()", DATABASE)
    before = datetime.now(UTC)
    assert len(strikecast.ladder("BTC", 100, 900, momentum=0.02, model="momentum")) > 0
    assert strikecast.query("SELECT count(*) AS n FROM analytics.model_version")["n"].to_list() == [1]
    assert strikecast.as_of() <= datetime.now(UTC)
    monkeypatch.setenv("STRIKECAST_READ_URL", pair.primary.url())
    assert strikecast.as_of() >= before, "a primary is never old"


def test_scoring_of_a_run_reads_the_replica_once_it_has_what_the_primary_has(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def where(connection: Connection) -> tuple[object, ...] | None:
        return connection.execute("SELECT pg_is_in_recovery(), to_regclass('scored') IS NOT NULL").fetchone()

    monkeypatch.setenv("STRIKECAST_DATABASE_URL", pair.primary.url())
    with dg.build_resources(default_resources()) as resources:
        assert resources.database.read("test", where) == (False, False), "the primary, without a replica"
    monkeypatch.setenv("STRIKECAST_READ_URL", pair.replica.url())
    with dg.build_resources(default_resources()) as resources:
        execute(pair.primary, "CREATE TABLE scored ()", DATABASE)
        assert resources.database.read("test", where) == (True, True)
    monkeypatch.setenv("STRIKECAST_READ_LAG_SECONDS", "1")
    with (
        stopped_replay(pair.primary, pair.replica, "CREATE TABLE scored_later ()"),
        dg.build_resources(default_resources()) as resources,
        pytest.raises(ReplicaLagError),
    ):
        resources.database.read("test", where)
