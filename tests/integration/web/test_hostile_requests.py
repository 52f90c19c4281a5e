"""The page under requests that are malformed, slow, or too many: it answers or closes in time, and goes on."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

import httpx
import pytest
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from page_server import Served, serving
from sample_ladders import ladder, write_ladder

from pipelines.web.app import MAX_STREAMS
from pipelines.web.connections import MAX_CONNECTIONS, MAX_HEADER_BYTES, REQUEST_SECONDS

NO_DATABASE = "postgresql://nobody@127.0.0.1:1/none"
#: On a busy machine a timer is late.
MAX_SECONDS = 10.0
HALF_OPEN = (
    b"",
    b"GET",
    b"GET / HTTP/1.1\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: b",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("hostile"), database_url=NO_DATABASE) as it:
        write_ladder(it.home / "output", "BTC", ladder(95_100.0, datetime.now(UTC)))
        yield it
        assert "Traceback" not in it.log()
        assert "Exception" not in it.log()


def connected(served: Served) -> socket.socket:
    url = httpx.URL(served.url)
    assert url.port is not None
    return socket.create_connection((url.host, url.port), timeout=MAX_SECONDS)


def answer(served: Served, content: bytes, patience_seconds: float = MAX_SECONDS) -> bytes:
    """The beginning of what is answered to bytes; empty if the server closes, or still waits for more of them."""
    with connected(served) as client, suppress(ConnectionError, TimeoutError):
        client.settimeout(patience_seconds)
        client.sendall(content)
        return client.recv(65_536)
    return b""


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost:80:80", "a@localhost", "", "[::1"]
)
def test_a_foreign_host_is_refused(served: Served, host: str) -> None:
    response = served.client.get("/api/BTC", headers={"Host": host})
    assert response.status_code == 400


def test_too_large_headers_are_refused(served: Served) -> None:
    large = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * (16 * MAX_HEADER_BYTES)
    assert answer(served, large)[:12] in {b"HTTP/1.1 400", b""}, "a reset may overtake the response"
    assert served.client.get("/api/BTC").status_code == 200


def test_half_open_requests_are_closed_in_time_although_bytes_trickle(served: Served) -> None:
    clients = [(connected(served), beginning) for beginning in HALF_OPEN]
    began = time.monotonic()
    for client, beginning in clients:
        client.sendall(beginning)
        client.setblocking(False)
    open_clients = [client for client, _ in clients]
    while open_clients and time.monotonic() - began < 3 * REQUEST_SECONDS:
        time.sleep(0.3)
        for client in list(open_clients):
            try:
                if client.recv(65_536) == b"":
                    open_clients.remove(client)
                else:
                    client.send(b"a")
            except BlockingIOError:
                client.send(b"a")
            except ConnectionError:
                open_clients.remove(client)
    took = time.monotonic() - began
    assert open_clients == []
    assert took < 2 * MAX_SECONDS, "one that has been answered waits for another request"
    for client, _ in clients:
        client.close()


def test_idle_connections_do_not_exhaust_the_server(served: Served) -> None:
    idle = [connected(served) for _ in range(2 * MAX_CONNECTIONS)]
    assert served.client.get("/api/BTC").status_code == 200
    assert len(os.listdir(f"/proc/{served.process.pid}/fd")) < MAX_CONNECTIONS + 100  # noqa: PTH208
    for client in idle:
        client.close()


def test_event_streams_leave_connections_for_other_requests(served: Served) -> None:
    streams = [connected(served) for _ in range(MAX_STREAMS + 5)]
    statuses = []
    for client in streams:
        client.sendall(b"GET /events/BTC HTTP/1.1\r\nHost: localhost\r\n\r\n")
        statuses.append(client.recv(12))
    assert statuses == [b"HTTP/1.1 200"] * MAX_STREAMS + [b"HTTP/1.1 503"] * 5
    assert served.client.get("/api/BTC").status_code == 200
    for client in streams:
        client.close()


TOKENS = st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PRI", "get", "CONNECT", "TRACE", "G\x00T", "", "x" * 300])
TARGETS = st.sampled_from(
    [
        "/",
        "/api/BTC",
        "/events/BTC",
        "/api/symbols",
        "/api/BTC/strike-table",
        "/api/BTC/strike-table/KXBTCD",
        "/api/BTC/strike-table/..%2f..%2f.session",
        "/api/BTC/strike-table/%00",
        "/static/page.js",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "//",
        "*",
        "http://evil.example/",
        "/%00",
        "/%ff",
        "/?symbol=%00",
        "/?symbol=ETH",
        "/api/" + "a" * 5000,
        "/api/%0d%0aX:1",
    ]
) | st.text(st.characters(max_codepoint=255), max_size=30).map("/".__add__)
NAMES = st.sampled_from(
    [
        "Host",
        "host",
        "Origin",
        "Sec-Fetch-Site",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Upgrade",
        "Expect",
        "Range",
        "Cookie",
        "If-Modified-Since",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "Last-Event-ID",
        "Accept",
    ]
) | st.text(st.characters(max_codepoint=255), max_size=12)
FIELDS = st.sampled_from(
    [
        "localhost",
        "evil.example",
        "[::1]",
        "-1",
        "0",
        "5",
        "9" * 30,
        "chunked",
        "upgrade",
        "websocket",
        "h2c",
        "close",
        "100-continue",
        "bytes=0-,5-,9-",
        "bytes=" + "0-1," * 500,
        "null",
        "cross-site",
        "a" * 9000,
        "",
        "é",
        "\x00",
    ]
) | st.text(st.characters(max_codepoint=255), max_size=30)
HEADERS = st.lists(st.tuples(NAMES, FIELDS), max_size=6)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Requests that are nearly right, of which some end too early."""
    version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9", ""]))
    own = [("Host", "localhost")] if draw(st.booleans()) else []
    lines = [f"{draw(TOKENS)} {draw(TARGETS)} {version}", *(f"{name}: {value}" for name, value in own + draw(HEADERS))]
    content = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + draw(st.binary(max_size=50))
    return content[: draw(st.integers(1, len(content)))] if draw(st.integers(0, 4)) == 0 else content


def test_any_request_is_answered_or_closed(served: Served) -> None:
    slowest = 0.0

    @examples(100, 2_000)
    @given(requests() | st.binary(min_size=1, max_size=100))
    def check(content: bytes) -> None:
        nonlocal slowest
        began = time.monotonic()
        received = answer(served, content, patience_seconds=0.2)
        assert received[:12] != b"HTTP/1.1 500"
        if not received:
            assert served.client.get("/api/BTC").status_code == 200
        slowest = max(slowest, time.monotonic() - began)
        assert slowest < MAX_SECONDS

    check()
    assert served.client.get("/api/BTC").status_code == 200
    assert served.process.poll() is None
