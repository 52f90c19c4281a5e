"""Refuse requests that other web sites make through a user's browser.

A browser sends them from the user's machine, so a server without a login cannot tell them from the user's own by their
address. What tells them apart are headers that a site's scripts cannot set: `Host` names a foreign server after DNS
rebinding, `Origin` and `Sec-Fetch-Site` name the site that makes the request. Programs other than browsers send only
`Host`.
"""

import re
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.web.connections import MAX_CONNECTIONS, MAX_HEADER_BYTES

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::(\d{1,5}))?")
#: Half of the connections, so that the others can be used for everything else.
MAX_WEBSOCKETS = MAX_CONNECTIONS // 2
_DEFAULT_PORTS = ("80", "443")
_OWN_SITES = (None, "same-origin", "none")


class AccessGuard:
    """ASGI layer that passes on requests of this server's own pages, of programs, and links to its pages.

    Refused are, for HTTP and websockets: status 400 for a `Host` other than the address of the connection, `names`, and
    the names of loopback; 403 for requests of other sites. A page of another site may link here, but not show a page of
    this server in a frame. Starlette's TrustedHostMiddleware knows neither the connection's address nor a remedy.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app = app
        self._websockets = 0
        self._names = LOOPBACK_NAMES | {_bracketed(name.lower()) for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refused = self._refusal(scope)
        if refused is not None:
            status, message = refused
            await PlainTextResponse(f"{message}\n", status)(scope, receive, send)
            return

        async def send_with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).setdefault("x-frame-options", "SAMEORIGIN")
            await send(message)

        is_websocket = scope["type"] == "websocket"
        self._websockets += is_websocket
        try:
            await self._app(scope, receive, send_with_header)
        finally:
            self._websockets -= is_websocket

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and message for a request that is refused."""
        headers = Headers(scope=scope)
        return self._limit(scope, headers) or self._foreign(scope, headers)

    def _limit(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        if not scope["path"].isprintable():  # a route also matches a path with a line break at its end
            return 400, "a path must consist of printable characters"
        if sum(len(name) + len(value) for name, value in headers.raw) > MAX_HEADER_BYTES:
            return 431, f"headers have at most {MAX_HEADER_BYTES} bytes"
        if scope["type"] == "websocket" and self._websockets >= MAX_WEBSOCKETS:
            return 503, f"{MAX_WEBSOCKETS} websockets are open, which is the limit"
        return None

    def _foreign(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        hosts = headers.getlist("host")
        host = _authority(hosts[0]) if len(hosts) == 1 else None
        if host is None:
            return 400, "a request must have one valid Host header"
        address = (scope.get("server") or ("",))[0]
        if host[0] not in self._names and host[0] != _bracketed(address):
            return 400, f"{host[0]} is not a name of this server: a further one belongs into its setting allowed_hosts"
        origin = headers.get("origin")
        if origin is not None and _authority(re.sub("^https?://", "", origin)) != host:
            return 403, "requests of other sites are refused (Origin is not Host, which a proxy must pass on)"
        if headers.get("sec-fetch-site") in _OWN_SITES or _is_link(scope, headers):
            return None
        return 403, "requests of other sites are refused (Sec-Fetch-Site)"


def _is_link(scope: Scope, headers: Headers) -> bool:
    """Whether a user follows a link to a page."""
    opens_page = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and opens_page


def _authority(text: str) -> tuple[str, str | None] | None:
    """Name and port of a `Host` or an origin, None for a malformed one; the default ports are the same as none."""
    found = _AUTHORITY.fullmatch(text.lower())
    return None if found is None else (found[1], None if found[2] in _DEFAULT_PORTS else found[2])


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name
