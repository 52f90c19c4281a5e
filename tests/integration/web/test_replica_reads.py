"""`serve` with `read_url`: what it reads of the past comes from the replica, with its age; health from the primary."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from page_server import Served, serving
from past_answers import store_answer
from replicas import execute, migrated_server_with_replica, stopped_replay, wait_for_replay
from waiting import wait_until

from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.embedded import DATABASE, EmbeddedServer

AT = (datetime.now(UTC) - timedelta(days=1)).replace(minute=40, second=0, microsecond=0)
PAST = f"/api/BTC/past?at={AT:%Y-%m-%dT%H:%M}Z"


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[EmbeddedServer, EmbeddedServer]]:
    with migrated_server_with_replica() as (primary, replica):
        store_answer(Database(primary.url()), AT, closing_price=100.1)
        wait_for_replay(primary, replica)
        yield primary, replica


@pytest.fixture(scope="module")
def served(
    servers: tuple[EmbeddedServer, EmbeddedServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    primary, replica = servers
    urls = {"database_url": primary.url(), "read_url": replica.url(), "read_lag_seconds": "1"}
    with serving(tmp_path_factory.mktemp("replica"), **urls) as it:
        yield it


@pytest.mark.parametrize("path", [PAST, f"/api/BTC/answers.csv?day={AT:%Y-%m-%d}", "/api/BTC/history"])
def test_answers_state_how_old_they_are(served: Served, path: str) -> None:
    response = served.client.get(path)
    assert response.status_code == 200, response.text
    assert datetime.fromisoformat(response.headers["x-data-as-of"]) <= datetime.now(UTC)
    assert float(response.headers["x-data-lag-seconds"]) >= 0


def test_health_and_metrics_show_the_replica(served: Served, servers: tuple[EmbeddedServer, EmbeddedServer]) -> None:
    # A busy machine may not answer within the second that a check may take.
    wait_until(lambda: served.health()[1]["checks"]["replica"]["ok"], "a check in time")
    check = served.health()[1]["checks"]["replica"]
    assert check["database"] == Database(servers[1].url()).describe()
    assert check["is_replica"] is True
    label = f'{{database="{check["database"]}"}}'
    usable = f"strikecast_read_usable{label} 1.0"
    wait_until(lambda: usable in served.client.get("/metrics").text, "the gauge")
    assert f"strikecast_read_lag_seconds{label}" in served.client.get("/metrics").text


def test_a_replica_that_lags_too_far_is_refused_and_reported(
    served: Served, servers: tuple[EmbeddedServer, EmbeddedServer]
) -> None:
    primary, replica = servers
    with stopped_replay(primary, replica, "CREATE TABLE IF NOT EXISTS lagging ()"):
        wait_until(lambda: served.client.get(PAST).status_code == 503, "the replica to lag too far")
        assert "reads accept 1 s" in served.client.get(PAST).json()["error"]
        wait_until(lambda: served.health()[1]["checks"]["replica"]["ok"] is False, "health to see it")
        report = served.health()[1]
        assert any(warning.startswith("replica: ") for warning in report["warnings"])
        assert not any("replica" in problem for problem in report["problems"])
    wait_until(lambda: served.client.get(PAST).status_code == 200, "the replica to be read again")


def test_a_replica_that_is_down_is_named(served: Served, servers: tuple[EmbeddedServer, EmbeddedServer]) -> None:
    servers[1].stop()
    response = served.client.get(PAST)
    assert response.status_code == 503
    assert "STRIKECAST_READ_URL names it" in response.json()["error"]
    wait_until(lambda: re.search(r"strikecast_read_usable\{.*\} 0\.0", served.client.get("/metrics").text), "the gauge")
    assert execute(servers[0], "SELECT count(*) FROM live_data.answer", DATABASE) == [(1,)]
    servers[1].restart_if_stopped()
