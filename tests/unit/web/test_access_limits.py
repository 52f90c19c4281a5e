"""Limits of the access guard: headers, paths, and the number of open websockets."""

import asyncio
from collections.abc import Sequence

import pytest
from starlette.types import Message, Receive, Scope, Send

from pipelines.web.access import MAX_WEBSOCKETS, AccessGuard
from pipelines.web.connections import MAX_HEADER_BYTES

HOST = (b"host", b"localhost")


class Application:
    """Accepts each request; a websocket stays open until `close` is set."""

    def __init__(self) -> None:
        self.close = asyncio.Event()
        self.open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            del receive
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body"})
            return
        self.open += 1
        await self.close.wait()
        raise ConnectionError("the client has gone")


async def status(
    guard: AccessGuard, kind: str = "http", path: str = "/", headers: Sequence[tuple[bytes, bytes]] = ()
) -> int:
    """Status of the response to a request."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": f"{kind}.request"}

    scope: Scope = {"type": kind, "path": path, "method": "GET", "headers": [HOST, *headers], "query_string": b""}
    scope["extensions"] = {"websocket.http.response": {}}
    await guard(scope, receive, send)
    return int(sent[0]["status"])


def test_headers_may_have_as_many_bytes_as_the_limit_and_not_one_more() -> None:
    guard = AccessGuard(Application(), ())
    room = MAX_HEADER_BYTES - sum(map(len, HOST)) - len(b"x")
    assert asyncio.run(status(guard, headers=[(b"x", b"a" * room)])) == 200
    assert asyncio.run(status(guard, headers=[(b"x", b"a" * (room + 1))])) == 431
    many = [(b"x", b"a" * 99)] * (MAX_HEADER_BYTES // 100 + 1)
    assert asyncio.run(status(guard, headers=many)) == 431


@pytest.mark.parametrize("path", ["/\n", "/api/BTC\n", "/\x00", "/\x7f"])
def test_paths_with_control_characters_are_refused(path: str) -> None:
    assert asyncio.run(status(AccessGuard(Application(), ()), path=path)) == 400


def test_websockets_beyond_the_limit_are_refused_until_one_ends_however_it_ends() -> None:
    async def scenario() -> None:
        application = Application()
        guard = AccessGuard(application, ())
        opened = [asyncio.create_task(status(guard, "websocket")) for _ in range(MAX_WEBSOCKETS)]
        while application.open < MAX_WEBSOCKETS:
            await asyncio.sleep(0)
        assert await status(guard, "websocket") == 503
        assert await status(guard) == 200, "other requests are served"
        application.close.set()
        ended = await asyncio.gather(*opened, return_exceptions=True)
        assert {type(result) for result in ended} == {ConnectionError}
        application.close.clear()
        again = asyncio.create_task(status(guard, "websocket"))
        while application.open == MAX_WEBSOCKETS:
            await asyncio.sleep(0)
        assert not again.done()
        again.cancel()

    asyncio.run(scenario())
