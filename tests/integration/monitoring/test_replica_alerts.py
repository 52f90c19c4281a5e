"""A replica that readers cannot use is a problem that somebody is told."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from replicas import execute, migrated_server_with_replica, stopped_replay, wait_for_replay
from waiting import wait_until

from pipelines.domain.monitoring.alerts import Problem, RunbookHeading
from pipelines.monitoring.replica import replica_problems
from pipelines.settings import load_settings
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.embedded import DATABASE, EmbeddedServer
from pipelines.storage.postgres.schema import migrate

ROW = "CREATE TABLE kept AS SELECT 1 AS n"
Found = Callable[..., list[Problem]]


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[EmbeddedServer, EmbeddedServer]]:
    with migrated_server_with_replica() as both:
        yield both


@pytest.fixture
def found(servers: tuple[EmbeddedServer, EmbeddedServer], tmp_path: Path) -> Found:
    """Calls `replica_problems` with the settings of the host, of which some are given."""
    primary, replica = servers

    def call(**given: str | None) -> list[Problem]:
        urls = {"database_url": primary.url(), "read_url": replica.url(), "read_lag_seconds": 1}
        settings = load_settings(**{"home": tmp_path, **urls, **given})
        return replica_problems(settings, Database(primary.url()))

    return call


def test_without_a_replica_and_with_one_that_follows_there_is_no_problem(found: Found) -> None:
    assert found(read_url=None) == []
    assert found() == []


def test_a_replica_that_lags_is_a_problem_until_it_has_caught_up(
    found: Found, servers: tuple[EmbeddedServer, EmbeddedServer]
) -> None:
    primary, replica = servers
    with stopped_replay(primary, replica, ROW):
        wait_until(lambda: any("reads accept 1 s" in one.message for one in found()), "the problem")
    wait_for_replay(primary, replica)
    wait_until(lambda: found() == [], "the end of the problem")


def test_a_server_that_is_no_replica_of_this_database_is_a_problem(
    found: Found, servers: tuple[EmbeddedServer, EmbeddedServer]
) -> None:
    primary, _ = servers
    execute(primary, "CREATE DATABASE another")
    another = Database(primary.url()).url_for("another")
    migrate(Database(another))
    [problem] = found(read_url=another)
    assert "is not a replica of the database of STRIKECAST_DATABASE_URL" in problem.message


def test_a_replica_that_does_not_answer_is_a_problem_also_while_the_primary_is_away(
    found: Found, servers: tuple[EmbeddedServer, EmbeddedServer], tmp_path: Path
) -> None:
    primary, _ = servers
    nowhere = f"postgresql://postgres@127.0.0.1:1/{DATABASE}"
    [problem] = found(read_url=nowhere)
    assert (problem.key, problem.heading, problem.transient) == ("replica", RunbookHeading.REPLICA, True)
    assert "STRIKECAST_READ_URL names it" in problem.message
    settings = load_settings(home=tmp_path, database_url=nowhere, read_url=primary.url())
    assert replica_problems(settings, Database(nowhere)) == []
