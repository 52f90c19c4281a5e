"""Dagster's web server with AccessGuard and limits: `python -m pipelines.web.dagster_ui`, with its command's options.

Dagster's own command accepts any `Host`, and executes mutations of any web site.
"""

import sys
from typing import Any

import uvicorn
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from pipelines.service.dagster_process import ask_less_often
from pipelines.settings import Settings, load_settings
from pipelines.web.access import AccessGuard
from pipelines.web.connections import MAX_HEADER_BYTES, LimitedProtocol

#: The UI's largest requests contain the configuration of a run.
MAX_BODY_BYTES = 16 * 2**20


class PostedGraphql:
    """ASGI layer that refuses GraphQL operations by GET, which also a link executes; the UI sends none."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection. Without a query string, GET shows the playground."""
        is_graphql = scope["type"] == "http" and scope["path"].rstrip("/").endswith("/graphql")
        if is_graphql and scope["method"] != "POST" and scope["query_string"]:
            refused = PlainTextResponse("GraphQL operations are sent by POST\n", 405, headers={"allow": "POST"})
            await refused(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def guarded(app: ASGIApp, settings: Settings) -> ASGIApp:
    """Dagster's application, protected."""
    names = {settings.ui_host, *settings.allowed_hosts}
    return AccessGuard(PostedGraphql(RequestBodyLimitMiddleware(app, MAX_BODY_BYTES)), names)


def main() -> None:
    """Run Dagster's command. It has no option for another application or protocol, but serves by `uvicorn.run`."""
    settings, run = load_settings(), uvicorn.run

    def run_guarded(app: ASGIApp, **options: Any) -> None:
        run(
            guarded(app, settings),
            http=LimitedProtocol,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            server_header=False,
            **options,
        )

    ask_less_often()
    uvicorn.run = run_guarded  # type: ignore[assignment]
    from dagster_webserver.cli import cli  # noqa: PLC0415 (after the replacement)

    read_only = ["--read-only"] if settings.ui_read_only else []
    cli([*sys.argv[1:], *read_only], auto_envvar_prefix="DAGSTER_WEBSERVER")


if __name__ == "__main__":
    main()
