"""What the endpoints of the simulated exchange share: numbers in requests, pages, responses and errors."""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from email.utils import format_datetime
from typing import TypeVar

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pipelines.markets.address import SIMULATED_HEADER
from pipelines.markets.simulation.messages import Message

#: Rows of a page without `limit`.
USUAL_ROWS = 100
Row = TypeVar("Row")


def respond(body: Message, now: datetime, status: int = 200) -> Response:
    """JSON, dated by the exchange's clock."""
    headers = {"date": format_datetime(now, usegmt=True), SIMULATED_HEADER: "true"}
    return Response(orjson.dumps(body), status, headers, "application/json")


def refused(detail: str) -> HTTPException:
    """The error of a request that is not permitted."""
    return HTTPException(400, detail)


def not_found(what: str) -> HTTPException:
    """The error of a request for something that there is not."""
    return HTTPException(404, f"{what} not found")


def number_of(query: Mapping[str, str], name: str, otherwise: int | None, least: int, most: int) -> int:
    """A whole number of a request; without `otherwise` it must be there."""
    text = query.get(name, "" if otherwise is None else str(otherwise))
    if not (text.isascii() and text.isdigit() and len(text) < 15 and least <= int(text) <= most):
        raise refused(f"{name} {text!r}: expected {least} to {most}")
    return int(text)


def is_true(query: Mapping[str, str], name: str) -> bool:
    """A switch of a request."""
    return query.get(name, "").lower() == "true"


def page_of(
    rows: Sequence[Row], query: Mapping[str, str], most: int, name: Callable[[Row], str]
) -> tuple[Sequence[Row], str]:
    """The rows after the cursor, which contains the name of the last row before them; and the next cursor."""
    limit, start = number_of(query, "limit", USUAL_ROWS, 1, most), 0
    if cursor := query.get("cursor"):
        try:
            last = base64.urlsafe_b64decode(cursor).decode()
            start = next(number for number, row in enumerate(rows) if name(row) == last) + 1
        except (binascii.Error, UnicodeDecodeError, StopIteration):
            raise refused("invalid cursor") from None
    page = rows[start : start + limit]
    more = start + limit < len(rows)
    return page, base64.urlsafe_b64encode(name(page[-1]).encode()).decode() if more else ""
