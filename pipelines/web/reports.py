"""Endpoints of reports and charts: their list, and the files, whichever machine wrote them."""

from collections.abc import Callable
from pathlib import Path

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from pipelines.settings import Settings
from pipelines.storage.files.reports import REPORTS, list_reports, read_report
from pipelines.storage.live.health_queries import with_timeouts
from pipelines.storage.postgres.connection import Database, Role
from pipelines.web.shared_reads import LimitedReads

#: The shared place may answer slowly.
TIMEOUT_SECONDS = 20
MAX_READS = 2
TYPES = {".html": "text/html; charset=utf-8", ".png": "image/png"}
#: A report is one file that contains its styles and drawings.
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class ReportEndpoints:
    """The request handlers; `settings`: the current ones."""

    def __init__(self, settings: Callable[[], Settings], database: Database) -> None:
        self._settings = settings
        self._database = with_timeouts(database)
        self._read = LimitedReads(MAX_READS, TIMEOUT_SECONDS, "reads of reports")
        source = (Path(__file__).parent / "templates" / "reports.html").read_text(encoding="utf-8")
        self._page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(source)

    async def listed(self, _: Request) -> Response:
        """The list of reports and charts."""

        def read() -> str:
            with self._database.connect("serve", Role.READER) as connection:
                return self._page.render(reports=list_reports(connection))

        return HTMLResponse(await self._read(read), headers={"content-security-policy": REPORT_POLICY})

    async def report(self, request: Request) -> Response:
        """A report or chart."""
        name = f"{REPORTS}{request.path_params['name']}"

        def read() -> bytes:
            with self._database.connect("serve", Role.READER) as connection:
                return read_report(self._settings(), connection, name)

        kind = TYPES.get(Path(name).suffix, "application/octet-stream")
        headers = {"content-security-policy": REPORT_POLICY}
        return Response(await self._read(read), headers=headers, media_type=kind)
