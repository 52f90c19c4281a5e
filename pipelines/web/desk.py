"""The paper desk: its page, its JSON, and its gauges for Prometheus."""

from collections.abc import Callable
from datetime import datetime, timedelta
from http import HTTPStatus

import orjson
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from pipelines.domain.desk.amounts import amounts
from pipelines.domain.desk.limits import lasting
from pipelines.domain.markets.board import MarketSource
from pipelines.domain.models.ladder import iso
from pipelines.errors import DatabaseError, StateError
from pipelines.settings import Settings
from pipelines.storage.desk.reads import read_equity, read_trades
from pipelines.storage.desk.rows import TRADE_ROWS
from pipelines.storage.desk.store import read_saved
from pipelines.storage.desk.switch import read_switch
from pipelines.storage.live.health_queries import with_timeouts
from pipelines.storage.postgres.connection import Database, DriverError, Role, full_message
from pipelines.web.desk_page import DeskPage
from pipelines.web.desk_report import DeskAccount, StoredDesk, desk_report
from pipelines.web.shared_reads import SingleFlightCache

TIMEOUT_SECONDS = 1.5
MAX_TRADES = 1_000
#: The equity line begins so long ago.
EQUITY_OF = timedelta(days=2)
PREFIX = "strikecast_desk_"


class DeskEndpoints:
    """The request handlers; `settings`: the current ones, `clock`: the time, aware UTC."""

    def __init__(self, settings: Callable[[], Settings], database: Database, clock: Callable[[], datetime]) -> None:
        self._settings = settings
        self._database = with_timeouts(database)
        self._clock = clock
        self._stored = SingleFlightCache(self._read, fresh_seconds=1.0)
        self._page = DeskPage(lambda: list(settings().symbols))

    async def page(self, _: Request) -> Response:
        """The page; without a database it says so."""
        problem = None
        try:
            account = await self._account()
        except HTTPException as error:
            account, problem = self._account_of(StoredDesk()), error.detail
        return HTMLResponse(self._page.render(account, self._clock(), problem))

    async def account(self, _: Request) -> Response:
        """The account as JSON."""
        return _json(desk_report(await self._account(), self._clock()))

    async def equity(self, _: Request) -> Response:
        """Equity of the last EQUITY_OF: [[time, USD], ...], oldest first."""
        account = await self._account()
        return _json([(iso(point.at), point.equity_usd) for point in account.stored.equity])

    async def trades(self, request: Request) -> Response:
        """The newest `?limit=` trades, by default 100, as the rows of `live_data.desk_trade`, newest first."""
        text = request.query_params.get("limit", "100")
        if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= MAX_TRADES):
            raise HTTPException(HTTPStatus.BAD_REQUEST, f"limit must be a number from 1 to {MAX_TRADES}")
        account = await self._account()
        content = TRADE_ROWS.dump_json(list(account.stored.trades[: int(text)]))
        return Response(content, media_type="application/json")

    async def metrics(self) -> bytes:
        """Gauges in Prometheus' text format; nothing without a database or a state."""
        try:
            return desk_metrics(await self._account(), self._clock())
        except HTTPException:
            return b""

    async def _account(self) -> DeskAccount:
        """The account; an error of the database becomes a response."""
        try:
            return self._account_of(await self._stored.get(TIMEOUT_SECONDS))
        except (DatabaseError, StateError) as error:
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error
        except DriverError as error:
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, f"the database: {full_message(error)}") from error

    def _account_of(self, stored: StoredDesk) -> DeskAccount:
        settings = self._settings()
        simulated = settings.markets.source is MarketSource.SIMULATED
        return DeskAccount(settings.desk_campaign, settings.desk_is_enabled, simulated, stored)

    def _read(self) -> StoredDesk:
        campaign, since = self._settings().desk_campaign, self._clock() - EQUITY_OF
        with self._database.connect("serve", Role.READER) as connection:
            state, saved_at = read_saved(connection, campaign) or (None, None)
            return StoredDesk(
                state,
                saved_at,
                read_switch(connection, campaign),
                read_equity(connection, campaign, since),
                read_trades(connection, campaign, limit=MAX_TRADES),
            )


def desk_metrics(account: DeskAccount, now: datetime) -> bytes:
    """Gauges of an account at `now` (aware UTC); nothing without a state."""
    state, saved_at = account.state, account.stored.saved_at
    if state is None or saved_at is None:
        return b""
    values = amounts(state, now)
    registry = CollectorRegistry(auto_describe=False)
    for name, documentation, value in (
        ("equity_usd", "cash, and open positions at the bid", values["equity_usd"]),
        ("cash_usd", "cash", values["cash_usd"]),
        ("gain_usd", "gain of closed positions less all fees", values["gain_usd"]),
        ("open_gain_usd", "gain of open positions at the bid", values["open_gain_usd"]),
        ("fees_usd", "fees paid since the campaign began", values["fees_usd"]),
        ("drawdown_usd", "highest equity less equity", values["drawdown_usd"]),
        ("daily_loss_usd", "loss of the UTC day, with fees", values["loss_today_usd"]),
        ("daily_loss_limit_usd", "loss of a UTC day after which no trade is entered", values["daily_loss_limit_usd"]),
        ("open_positions", "trades that have not ended", len(state.active)),
        ("stranded_positions", "trades that are not settled in time", len(account.stranded(now))),
        ("breaches", "limits that are exceeded", len(lasting(state, now))),
        ("stopped", "1 stopped by an operator, 0 not", account.stop_reason is not None),
        ("enabled", "1 enabled in the settings, 0 not", account.enabled),
        ("saved_timestamp_seconds", "time of the newest saved state", saved_at.timestamp()),
    ):
        gauge = Gauge(PREFIX + name, f"paper desk: {documentation}", ["campaign"], registry=registry)
        gauge.labels(account.campaign).set(float(value))
    return generate_latest(registry)


def _json(content: object) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
