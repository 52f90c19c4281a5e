"""Limits on the connections of a web server, so that slow and idle clients do not exhaust it."""

import asyncio
import time
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

#: Well below 1,024, the usual limit of open files of a process.
MAX_CONNECTIONS = 400
#: From the beginning of a connection, or the response before, until a request is complete with its body.
REQUEST_SECONDS = 8.0
#: For a client that does not read its response.
STALLED_SECONDS = 30.0
#: Of the request line and all headers of a request.
MAX_HEADER_BYTES = 65_536


class LimitedProtocol(H11Protocol):
    """Uvicorn's HTTP/1.1 protocol with limits that it lacks.

    A connection whose request is not complete in time, or whose client stops reading, is closed. When there are too
    many, the one that has waited longest for a request is closed; the new one when all are in use. Uvicorn's own
    `limit_concurrency` refuses requests instead, also those of a client that is in time.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        #: By the monotonic clock; None while there is a complete request.
        self.waiting_since: float | None = None
        self._request_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._wait_for_request()
        if len(self.connections) > MAX_CONNECTIONS:
            waiting = [
                (one.waiting_since, id(one), one)
                for one in self.connections
                if isinstance(one, LimitedProtocol) and one.waiting_since is not None
            ]
            oldest = min(waiting)[2]  # this one, if there is no other
            self.connections.discard(oldest)
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        self._end_wait()
        self.resume_writing()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """End the wait when a request is complete."""
        super().handle_events()
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._end_wait()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """End the wait: a websocket has its own limits."""
        self._end_wait()
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """Close the connection, with a response if none has begun: Uvicorn's raises an error otherwise."""
        if self.cycle is not None:
            self.cycle.disconnected = True  # it must not respond as well
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:
            self.transport.abort()

    def on_response_complete(self) -> None:
        """Wait for the next request, which may have been received already."""
        self._wait_for_request()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Close the connection unless the client goes on reading in time."""
        super().pause_writing()
        self._stall_timer = self.loop.call_later(STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The client goes on reading."""
        super().resume_writing()
        if self._stall_timer is not None:
            self._stall_timer.cancel()

    def _wait_for_request(self) -> None:
        self._end_wait()
        self.waiting_since = time.monotonic()
        self._request_timer = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def _end_wait(self) -> None:
        self.waiting_since = None
        if self._request_timer is not None:
            self._request_timer.cancel()
