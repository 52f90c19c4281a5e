"""Endpoints that read the past from the database: the ladder of a minute with its outcome, the answers of a day."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TypeVar

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pipelines.settings import Settings
from pipelines.storage.live.health_queries import with_timeouts
from pipelines.storage.postgres.connection import Database, Role
from pipelines.web.replica import Aged, read_aged
from pipelines.web.shared_reads import LimitedReads

Result = TypeVar("Result")

#: A day of answers takes 0.3 s.
TIMEOUT_SECONDS = 5
#: Reads at the same time, so that they leave the database to the live session.
MAX_READS = 2
_MINUTE = re.compile(r"[12]\d{3}-\d{2}-\d{2}T\d{2}:\d{2}Z?", re.ASCII)
_DAY = re.compile(r"[12]\d{3}-\d{2}-\d{2}", re.ASCII)


class PastEndpoints:
    """The request handlers; `settings`: the current ones, `clock`: the time, aware UTC.

    `database`: the one to read from, whose lag the responses' headers state.
    """

    def __init__(self, settings: Callable[[], Settings], database: Database, clock: Callable[[], datetime]) -> None:
        self._settings = settings
        self._database = replace(with_timeouts(database), statement_timeout_seconds=TIMEOUT_SECONDS)
        self._clock = clock
        self._reads = LimitedReads(MAX_READS, TIMEOUT_SECONDS, "reads of the past")

    async def ladder(self, request: Request) -> Response:
        """The ladder of the past minute `?at=`, with its outcome."""
        from pipelines.storage.models.past_ladders import past_ladder  # polars, as below

        symbol, settings = self._symbol(request)
        at = _instant(request, "at", _MINUTE, "a minute in UTC, such as 2026-07-01T12:35Z")
        tier_usd, by_probability = settings.tier_usd(symbol), symbol in settings.by_probability
        found = await self._read(
            lambda database: past_ladder(database, symbol, tier_usd, at, self._clock(), by_probability=by_probability)
        )
        return Response(orjson.dumps(found.value), headers=found.headers, media_type="application/json")

    async def answers(self, request: Request) -> Response:
        """The stored answers of the day `?day=` with their outcomes as CSV; by default of today."""
        symbol, _ = self._symbol(request)
        day = self._clock().replace(hour=0, minute=0, second=0, microsecond=0)
        if "day" in request.query_params:
            day = _instant(request, "day", _DAY, "a day in UTC, such as 2026-07-01")

        def read(database: Database) -> str:
            from pipelines.evaluation.answer_files import CSV_TIME  # polars, 30 MB
            from pipelines.storage.live.answers import read_outcomes

            with database.connect("serve", Role.READER) as connection:
                table = read_outcomes(connection, symbol, day, day + timedelta(days=1))
            return table.write_csv(datetime_format=CSV_TIME)

        name = f"{symbol.lower()}_answers_{day:%Y-%m-%d}.csv"
        found = await self._read(read)
        headers = {**found.headers, "content-disposition": f'attachment; filename="{name}"'}
        return Response(found.value, headers=headers, media_type="text/csv")

    def _symbol(self, request: Request) -> tuple[str, Settings]:
        """The request's symbol, and the settings. Raises 404 unless it is configured."""
        settings, symbol = self._settings(), request.path_params["symbol"]
        if symbol not in settings.symbols:
            raise HTTPException(404, f"there is no such symbol; there are {', '.join(settings.symbols)}")
        return symbol, settings

    async def _read(self, call: Callable[[Database], Result]) -> Aged[Result]:
        """Call in a thread, with the age of what it reads."""
        return await self._reads(lambda: read_aged(self._database, call))


def _instant(request: Request, name: str, form: re.Pattern[str], expected: str) -> datetime:
    """A query parameter as an aware instant. Raises 400 with what is expected."""
    text = request.query_params.get(name, "")
    try:
        if form.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        pass
    raise HTTPException(HTTPStatus.BAD_REQUEST, f"{name} must be {expected}")
