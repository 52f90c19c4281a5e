"""`strikecast serve` as a process, by HTTP, with and without a working database."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import psycopg
import pytest
from live_sessions import insert_tick, session
from page_server import Served, serving
from psycopg import sql
from sample_ladders import ladder, write_ladder
from sample_strike_tables import strike_table, write_strike_table
from waiting import TIMEOUT_SECONDS, avoid_hour_boundary, wait_until

from pipelines.live.probability_writer import probabilities_path
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.schema import migrate
from pipelines.web.app import HEALTH_TIMEOUT_SECONDS

NO_DATABASE = "postgresql://nobody@127.0.0.1:1/none"


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The output folder of a test's own server, with a file of BTC."""
    write_ladder(tmp_path / "output", "BTC", ladder(95_100.0, now()))
    return tmp_path / "output"


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server without a database, shared by the tests that leave it running."""
    with serving(tmp_path_factory.mktemp("serve"), database_url=NO_DATABASE) as served:
        yield served


@pytest.fixture
def without_database(shared_server: Served) -> Served:
    """The shared server, with only a file of BTC in its folder."""
    output = shared_server.home / "output"
    for path in output.glob("*"):
        path.unlink()
    write_ladder(output, "BTC", ladder(95_100.0, now()))
    return shared_server


@contextmanager
def ticking(database: Database, symbol: str, price: float) -> Iterator[threading.Event]:
    """Two ticks a second over one connection, until the event is set."""
    over = threading.Event()

    def feed() -> None:
        with database.connect("producer", Role.LIVE, autocommit=True) as connection:
            while not over.wait(0.5):
                connection.execute(
                    "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) VALUES (%s, %s, %s, 'test')",
                    [symbol, now(), price],
                )

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield over
    finally:
        over.set()
        thread.join()


@pytest.mark.embedded_only
def test_health_reflects_the_session_and_the_feed(
    database: Database, build: Callable[..., int], tmp_path: Path
) -> None:
    build("BTC", seed=1)
    output = tmp_path / "output"
    reports: list[tuple[int, dict[str, Any]]] = []
    with serving(tmp_path, database_url=database.url) as served:
        assert "session: no live session has run yet" in served.problems()
        with ticking(database, "BTC", 100.1) as feed, session(database, output, "BTC") as live:
            wait_until(lambda: probabilities_path(output, "BTC").exists(), "the first file")
            wait_until(lambda: all_match(served.problems(), "BTC: momentum is not known"), "its one problem")
            assert served.health()[1]["checks"]["symbols"]["BTC"]["status"] == "degraded"
            for minutes in range(32, 0, -1):
                insert_tick(database, "BTC", 100.0, now() - timedelta(minutes=minutes))
            live.kill()
            wait_until(lambda: "session: no live session is running" in served.problems(), "the session to be missing")
        with ticking(database, "BTC", 100.1) as feed, session(database, output, "BTC") as live:
            wait_until(lambda: reports.append(served.health()) or reports[-1][0] == 200, "health")
            report = reports[-1][1]
            assert report["checks"]["session"]["lock_held"] is True
            assert report["checks"]["session"]["heartbeat_age_seconds"] < 10
            assert report["checks"]["symbols"]["BTC"]["file_age_seconds"] < 2
            assert report["checks"]["symbols"]["ETH"] == {
                **report["checks"]["symbols"]["ETH"],
                "ok": True,
                "required": False,
                "status": "missing",
            }

            feed.set()
            wait_until(lambda: all_match(served.problems(), r"BTC: the price is \d+\.\d s old"), "the price being old")

            live.send_signal(signal.SIGSTOP)
            wait_until(
                lambda: any("the file is not being written" in p for p in served.problems()), "the unwritten file"
            )
            wait_until(lambda: any("last heartbeat of session" in p for p in served.problems()), "the old heartbeat")
            assert not any("lock" in problem for problem in served.problems())


def all_match(problems: list[str], pattern: str) -> bool:
    """Whether there is one problem, and it matches the pattern."""
    return len(problems) == 1 and re.match(pattern, problems[0]) is not None


def test_a_database_outage_is_reported_while_the_files_are_served(
    database: Database, server: Database, folder: Path, tmp_path: Path
) -> None:
    def is_unavailable() -> bool:
        return any("is not currently accepting connections" in problem for problem in served.problems())

    with serving(tmp_path, database_url=database.url) as served:
        assert served.client.get("/api/BTC/history").status_code == 200
        assert not is_unavailable()
        allow_connections(server, database, to="false")
        wait_until(is_unavailable, "the database to be unavailable")
        assert served.health()[0] == 503
        assert served.client.get("/").status_code == 200
        assert served.client.get("/api/BTC").status_code == 200
        wait_until(lambda: served.client.get("/api/BTC/history").status_code == 503, "the history to be unavailable")
        allow_connections(server, database, to="true")
        wait_until(lambda: not is_unavailable(), "the database to be available")
        wait_until(lambda: served.client.get("/api/BTC/history").status_code == 200, "the history to be available")


def allow_connections(server: Database, database: Database, *, to: str) -> None:
    """Let the database accept connections, or none."""
    name = sql.Identifier(str(database.parameters["dbname"]))
    with psycopg.connect(server.url_for("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(name, sql.SQL(to)))


def test_history_has_one_price_a_second_of_this_hour(database: Database, tmp_path: Path) -> None:
    migrate(database)
    avoid_hour_boundary(120)
    start = now().replace(minute=0, second=0, microsecond=0)
    before = start - timedelta(milliseconds=1)  # in the first hour of a day, that is the day before
    insert_tick(database, "ETH", 1.0, before)
    insert_tick(database, "ETH", 2.0, start)
    insert_tick(database, "ETH", 3.0, start + timedelta(milliseconds=900))
    insert_tick(database, "BTC", 9.0, start)
    with serving(tmp_path, database_url=database.url) as served:
        stamp = (start + timedelta(milliseconds=900)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        wait_until(lambda: served.client.get("/api/ETH/history").json() == [[stamp, 3.0]], "the second to be over")


def test_a_hanging_database_delays_neither_health_nor_the_shutdown(tmp_path: Path, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/none"
        with serving(tmp_path, database_url=url) as served:
            timeout = f"database: the database has not answered within {HEALTH_TIMEOUT_SECONDS:g} s"
            wait_until(lambda: timeout in served.problems(), "a response before the connection times out")
            assert "95,100.00" in served.client.get("/").text
            served.process.send_signal(signal.SIGTERM)
            assert served.process.wait(TIMEOUT_SECONDS) == 0


def test_without_a_database_the_files_are_served(tmp_path: Path, folder: Path) -> None:
    with serving(tmp_path) as served:
        assert "there is no database yet" in served.log()
        assert not (tmp_path / "postgres").exists()
        assert served.client.get("/api/BTC").status_code == 200
        status, report = served.health()
        assert status == 503
        assert report["checks"]["database"]["ok"] is False
        assert report["checks"]["symbols"]["BTC"]["file_age_seconds"] < 60


def test_the_file_is_served_unchanged(without_database: Served) -> None:
    response = without_database.client.get("/api/BTC")
    assert response.content == probabilities_path(without_database.home / "output", "BTC").read_bytes()
    assert response.headers["content-type"] == "application/json"


def test_symbols_are_listed_with_their_status(without_database: Served) -> None:
    btc, eth = without_database.client.get("/api/symbols").json()
    assert (btc["symbol"], btc["current_price"]) == ("BTC", 95_100.0)
    assert (eth["symbol"], eth["status"], eth["file_age_seconds"]) == ("ETH", "missing", None)


def test_symbols_that_are_added_later_are_served(tmp_path: Path) -> None:
    with serving(tmp_path / "home", database_url=NO_DATABASE) as served:

        def names() -> list[str]:
            return [one["symbol"] for one in served.client.get("/api/symbols").json()]

        assert names() == ["BTC", "ETH"]
        settings = served.home / "strikecast.toml"
        for tier, expected in (("-1", ["BTC", "ETH"]), ("1", ["SOL"])):
            tables = f"[symbols.SOL]\nstrike_tier_usd = {tier}\n"
            settings.with_name("partial").write_text(tables)
            settings.with_name("partial").replace(settings)
            assert [name for name in names() if name in expected] == expected
        assert f"the changed settings are not used: {settings}:2: symbols.SOL.strike_tier_usd" in served.log()
        write_ladder(served.home / "output", "SOL", ladder(95_100.0, now()))
        assert served.client.get("/api/SOL").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/api/XRP",
        "/api/XRP/history",
        "/events/XRP",
        "/?symbol=XRP",
        "/api/btc",
        "/api/..%2f..%2fetc%2fpasswd",
        "/nothing",
    ],
)
def test_an_unconfigured_symbol_is_not_found_even_with_a_file(without_database: Served, path: str) -> None:
    write_ladder(without_database.home / "output", "XRP", ladder(1.0, now()))
    response = without_database.client.get(path)
    assert response.status_code == 404
    assert "application/json" in response.headers["content-type"]
    assert response.json()["error"]


def test_a_symbol_without_a_file_is_not_found(without_database: Served) -> None:
    response = without_database.client.get("/api/ETH")
    assert response.status_code == 404
    assert response.json()["error"].startswith("there is no file for ETH yet")


@pytest.mark.parametrize("path", ["/", "/health", "/api/BTC", "/api/nothing", "/static/page.js"])
def test_every_response_has_the_security_headers(without_database: Served, path: str) -> None:
    headers = without_database.client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/", "/api/BTC", "/events/BTC", "/health", "/static/page.js"])
def test_write_methods_are_not_allowed(without_database: Served, method: str, path: str) -> None:
    assert without_database.client.request(method, path).status_code == 405


def test_head_requests_have_no_body(without_database: Served) -> None:
    for path in ("/", "/api/BTC", "/events/BTC"):
        response = without_database.client.head(path)
        assert (response.status_code, response.content) == (200, b"")


def test_every_client_receives_each_new_file(without_database: Served) -> None:
    folder = without_database.home / "output"
    with without_database.client.stream("GET", "/events/BTC") as one, httpx.Client() as other_client:
        with other_client.stream("GET", f"{without_database.url}/events/BTC") as other:
            streams = [prices(one), prices(other)]
            assert [next(stream) for stream in streams] == [95_100.0] * 2
            for price in (95_200.0, 95_300.0):
                write_ladder(folder, "BTC", ladder(price, now()))
                assert [next(stream) for stream in streams] == [price] * 2
            probabilities_path(folder, "BTC").unlink()
            assert [next(stream) for stream in streams] == [None] * 2
        write_ladder(folder, "BTC", ladder(95_400.0, now()))
        assert next(streams[0]) == 95_400.0


def prices(response: httpx.Response) -> Iterator[float | None]:
    """The price of each event, None for one without a file."""
    assert response.headers["content-type"].startswith("text/event-stream")
    return (price for _, price in events(response))


def test_a_stream_has_the_strike_tables_of_its_symbol(tmp_path: Path, folder: Path) -> None:
    write_strike_table(folder, strike_table(95_100.0, now(), symbol="ETH"))
    with serving(tmp_path, database_url=NO_DATABASE, markets__source="kalshi") as served:
        assert served.client.get("/api/BTC/strike-table").status_code == 404
        with served.client.stream("GET", "/events/BTC") as response:
            received = events(response)
            assert [next(received), next(received)] == [("ladder", 95_100.0), ("strike_table", None)]
            write_strike_table(folder, strike_table(95_200.0, now()))
            assert next(received) == ("strike_table", 95_200.0)
            write_ladder(folder, "BTC", ladder(95_300.0, now()))
            assert next(received) == ("ladder", 95_300.0)
        content = served.client.get("/api/BTC/strike-table")
        assert (content.status_code, content.json()["current_price"]) == (200, 95_200.0)
        assert "quotes" not in str(served.health()[1]["warnings"])
        write_strike_table(folder, strike_table(95_200.0, now(), market_status="unavailable: timed out"))
        assert "quotes of BTC KXBTCD are unavailable: timed out" in served.health()[1]["warnings"]


def test_without_a_source_of_markets_a_stream_has_no_strike_tables(without_database: Served) -> None:
    folder = without_database.home / "output"
    write_strike_table(folder, strike_table(95_100.0, now()))
    with without_database.client.stream("GET", "/events/BTC") as response:
        received = events(response)
        assert next(received) == ("ladder", 95_100.0)
        write_strike_table(folder, strike_table(95_200.0, now()))
        write_ladder(folder, "BTC", ladder(95_300.0, now()))
        assert next(received) == ("ladder", 95_300.0)


def events(response: httpx.Response) -> Iterator[tuple[str, float | None]]:
    """The name of each event, and the price in its file."""
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            payload = orjson.loads(line.removeprefix("data: "))["payload"]
            yield name, None if payload is None else payload["current_price"]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_shutdown_is_orderly_with_connected_clients(tmp_path: Path, folder: Path, ending: signal.Signals) -> None:
    with serving(tmp_path, database_url=NO_DATABASE) as served, served.client.stream("GET", "/events/BTC") as response:
        stream = prices(response)
        assert next(stream) == 95_100.0
        served.process.send_signal(ending)
        assert served.process.wait(TIMEOUT_SECONDS) == 0
        assert list(stream) == []  # ended, not aborted
        assert "Traceback" not in served.log()
        assert "ERROR" not in served.log()


def test_a_port_in_use_is_one_line_on_standard_error(tmp_path: Path, without_database: Served) -> None:
    port = httpx.URL(without_database.url).port
    process = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "serve", "--port", str(port)],
        env={**os.environ, "STRIKECAST_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert process.stderr == (
        f"strikecast: cannot serve at 127.0.0.1:{port}: Address already in use; choose another with --port (0: any "
        "free one) or --host\n"
    )
