"""Access an exchange through ccxt, with errors raised as FeedError."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from ccxt import async_support, pro

from pipelines.configuration.sections import ExchangeSettings
from pipelines.errors import FeedError, SettingsError, single_line
from pipelines.protection.redaction import conceal, redact
from pipelines.storage.prices.history import Candle

Client = Any
MAX_MESSAGE_LENGTH = 200


def new_client(settings: ExchangeSettings) -> Client:
    """Create an unconnected client. Raises SettingsError for an exchange or API path unknown to ccxt."""
    known = async_support.exchanges
    if settings.name not in known:
        raise SettingsError(f"ccxt knows no exchange {settings.name!r}; it knows {', '.join(known)}")
    maker = getattr(pro if settings.name in pro.exchanges else async_support, settings.name)
    spot = {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}}  # otherwise Binance loads futures as well
    client = maker({"enableRateLimit": True, "timeout": int(settings.timeout_seconds * 1000), "options": spot})
    client.enableLastJsonResponse = True  # see `fetch_candles`
    for path, url in settings.urls.items():
        *parents, name = path.split(".")
        urls = client.urls["api"]
        for parent in parents:
            urls = urls.get(parent, {})
        if name not in urls:
            raise SettingsError(f"{settings.name} has no API {path!r} whose address could be changed")
        conceal(url.get_secret_value())
        urls[name] = url.get_secret_value()
    return client


@contextmanager
def as_feed_error(request: str) -> Iterator[None]:
    """Raise any error of an exchange as a FeedError with one line.

    ccxt raises its own errors for errors that an exchange reports, and KeyError, TypeError and others for responses of
    an unexpected shape. In all these cases no price is available.
    """
    try:
        yield
    except FeedError:
        raise
    except Exception as error:
        message = single_line(str(error), MAX_MESSAGE_LENGTH)
        failure = FeedError(f"{request}: {type(error).__name__}{f': {message}' if message else ''}")
        if redact(str(error)) != str(error):  # Dagster stores the messages of causes, too
            raise failure from None
        raise failure from error


async def load_markets(client: Client, name: str) -> None:
    """Load the exchange's markets, unless already loaded. Raises FeedError."""
    with as_feed_error(f"{name}: markets"):
        await client.load_markets()


def require_market(client: Client, name: str, market: str) -> None:
    """Raise FeedError unless the exchange has the market; markets must be loaded."""
    with as_feed_error(f"{name}: markets"):
        if market not in client.markets:
            base = market.split("/", maxsplit=1)[0]
            near = sorted(known for known in client.markets if known.split("/")[0] == base and ":" not in known)
            raise FeedError(f"{name} has no market {market}{f', but {near}' if near else ''}")


async def fetch_candles(client: Client, name: str, market: str, since: datetime, limit: int) -> list[Candle]:
    """One-minute candles from an instant on, oldest first; a candle without prices is left out. Raises FeedError.

    ccxt returns no candles for a response that is not JSON, has another shape, or holds only candles from before
    `since`, because the exchange repeats a page. These are errors here, because the minutes would be skipped. So are
    two different candles of a minute.
    """
    with as_feed_error(f"{name}: candles of {market}"):
        candles = await client.fetch_ohlcv(market, "1m", int(since.timestamp()) * 1000, limit)
        received = _longest_list(client.last_json_response)
        if not candles and received is None:
            raise ValueError(f"expected a list of candles, received {str(client.last_http_response)[:60]!r}")
        if (
            not candles and received is not None and received > 1
        ):  # Kraken's answer ends with the current candle, whenever it began
            raise ValueError(f"none of {received} candles is from {since:%Y-%m-%d %H:%M} or later, as requested")
        found: dict[datetime, Candle] = {}
        for opened, *prices, volume in candles:
            if opened is None or None in prices:
                continue
            o, h, low, c = (float(price) for price in prices)
            candle = (datetime.fromtimestamp(opened / 1000, UTC), o, h, low, c, float(volume or 0.0))
            if found.setdefault(candle[0], candle) != candle:
                raise ValueError(f"two different candles of {candle[0]:%Y-%m-%d %H:%M}")
        return [found[opened_at] for opened_at in sorted(found)]


def _longest_list(answer: object) -> int | None:
    """Length of the longest list in a response; None without one."""
    if isinstance(answer, list):
        return len(answer)
    lengths = [_longest_list(value) for value in answer.values()] if isinstance(answer, dict) else []
    return max((length for length in lengths if length is not None), default=None)


def utc_from_ms(milliseconds: float | None) -> datetime | None:
    """A timestamp of ccxt as aware UTC."""
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
