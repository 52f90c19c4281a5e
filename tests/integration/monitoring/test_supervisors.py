"""One `strikecast up` per database: the claim, its heartbeat, its expiry and its release."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pipelines.errors import AlreadyRunningError
from pipelines.storage.monitoring.supervisors import EXPIRES_SECONDS, Supervisor, claim, heartbeat, release
from pipelines.storage.postgres.connection import Database, Role

FIRST = Supervisor("one", "alpha", "/srv/a", "http://127.0.0.1:3000")
SECOND = Supervisor("two", "beta", "/srv/b", "http://127.0.0.1:4000")


@pytest.fixture
def claimed(database: Database) -> Iterator[Database]:
    """A database that FIRST has claimed."""
    claim(database, FIRST)
    yield database
    for one in (FIRST, SECOND):
        release(database, one)


def silent_for(database: Database, seconds: float) -> None:
    with database.connect("test", Role.PIPELINE) as connection:
        connection.execute(
            "UPDATE ops.supervisor SET heartbeat_at = clock_timestamp() - make_interval(secs => %s)", [seconds]
        )


def test_a_second_one_is_refused_with_the_place_of_the_first(claimed: Database) -> None:
    expected = r"on alpha with home folder /srv/a, Dagster UI http://127.0.0.1:3000, last heartbeat \d+ s ago; stop it"
    with pytest.raises(AlreadyRunningError, match=expected):
        claim(claimed, SECOND)
    heartbeat(claimed, FIRST)


def test_a_silent_one_is_replaced_and_notices_it(claimed: Database) -> None:
    silent_for(claimed, EXPIRES_SECONDS - 5)
    with pytest.raises(AlreadyRunningError):
        claim(claimed, SECOND)
    silent_for(claimed, EXPIRES_SECONDS + 1)
    claim(claimed, SECOND)
    with pytest.raises(AlreadyRunningError, match="on beta"):
        heartbeat(claimed, FIRST)
    release(claimed, FIRST)  # it no longer owns the row
    heartbeat(claimed, SECOND)
    with pytest.raises(AlreadyRunningError):
        claim(claimed, FIRST)


def test_the_successor_of_a_killed_one_need_not_wait(claimed: Database) -> None:
    successor = replace(FIRST, token="three")
    claim(claimed, successor, [FIRST.token])
    heartbeat(claimed, successor)
    release(claimed, successor)


def test_a_released_database_is_free_and_a_lost_row_is_recorded_again(claimed: Database) -> None:
    release(claimed, FIRST)
    heartbeat(claimed, FIRST)  # as after a restore of an older backup
    with pytest.raises(AlreadyRunningError):
        claim(claimed, SECOND)
    release(claimed, FIRST)
    claim(claimed, SECOND)
