"""Requests that other web sites could make through a user's browser."""

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import graphql
from waiting import TIMEOUT_SECONDS

EVIL = "http://evil.example"
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
#: Headers of forged requests, as browsers send them; {} is the server's own `Host`.
FORGED: Mapping[str, Mapping[str, str]] = {
    "foreign host": {"Host": "evil.example"},
    "rebound name": {"Host": "evil.example:{}", "Origin": "http://evil.example:{}", "Sec-Fetch-Site": "same-origin"},
    "name in front": {"Host": "localhost.evil.example:{}"},
    "two names": {"Host": "localhost:{}, evil.example"},
    "foreign origin": {"Origin": EVIL},
    "sandboxed frame": {"Origin": "null"},
    "another port": {"Origin": "http://127.0.0.1:1"},
    "cross-site": {"Sec-Fetch-Site": "cross-site"},
    "same-site": {"Sec-Fetch-Site": "same-site"},
    "frame": {**LINK, "Sec-Fetch-Dest": "iframe"},
    "form": {**LINK, "Origin": EVIL},
}
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "graphql-ws",
}


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Target:
    """A web server."""

    url: str

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 80

    def send(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
        """Send a request, with its own `Host` unless another is given."""
        address = urlsplit(self.url)
        assert address.hostname is not None
        filled = {name: value.format(self.port) for name, value in (headers or {}).items()}
        with closing(http.client.HTTPConnection(address.hostname, self.port, timeout=TIMEOUT_SECONDS)) as connection:
            connection.putrequest(method, path, skip_host="Host" in filled, skip_accept_encoding=True)
            for name, value in {**filled, "Content-Length": str(len(body))}.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            content = b"" if response.status == 101 else response.read()
            return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, content)

    def ask(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The data of a GraphQL operation that is sent as the UI sends it."""
        body = json.dumps({"query": query, "variables": variables or {}}).encode()
        own = {"Content-Type": "application/json", "Origin": self.url, "Sec-Fetch-Site": "same-origin"}
        answer = self.send("POST", "/graphql", own, body)
        content = json.loads(answer.body)
        assert answer.status == 200, content
        found: dict[str, Any] = content["data"]
        return found


def mutations(target: Target) -> dict[str, str]:
    """An operation for each mutation of the server's schema, by name; each is valid."""
    introspection: Any = target.ask(graphql.get_introspection_query())
    schema = graphql.build_client_schema(introspection)
    assert schema.mutation_type is not None
    found = {}
    for name, one in schema.mutation_type.fields.items():
        declared = ", ".join(f"${argument}: {value.type}" for argument, value in one.args.items())
        given = ", ".join(f"{argument}: ${argument}" for argument in one.args)
        selection = "" if graphql.is_leaf_type(graphql.get_named_type(one.type)) else " { __typename }"
        found[name] = f"mutation({declared}) {{ {name}({given}){selection} }}".replace("()", "")
        assert graphql.validate(schema, graphql.parse(found[name])) == [], name
    return found


def forgeries(path: str) -> Iterator[tuple[str, str, str, Mapping[str, str]]]:
    """A description, method, path and headers of each way to forge a request to `path`."""
    for kind, headers in FORGED.items():
        for method in ("GET", "POST"):
            yield f"{kind} {method}", method, path, headers
        yield f"{kind} websocket", "GET", path, {**HANDSHAKE, **headers}
