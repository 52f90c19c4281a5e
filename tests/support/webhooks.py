"""Webhooks that keep what they receive."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver(BaseHTTPRequestHandler):
    """Answers with `status`, and keeps the messages in `received`."""

    status = 200
    received: list[dict[str, Any]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        self.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(type(self).status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running_webhook(port: int = 0) -> Iterator[tuple[str, type[Receiver]]]:
    """A webhook in a thread: its URL for apprise, and its receiver."""

    class OwnReceiver(Receiver):
        received: list[dict[str, Any]] = []  # noqa: RUF012

    with ThreadingHTTPServer(("127.0.0.1", port), OwnReceiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"json://127.0.0.1:{server.server_port}/hook", OwnReceiver
        server.shutdown()
