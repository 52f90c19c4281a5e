"""Rows of `live_data.answer` and of the ticks that settle them, for tests."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from pipelines.storage.postgres.connection import Database

STRIKES = (99.75, 100.0, 100.25)
HOUR = timedelta(hours=1)


def store_answer(
    database: Database,
    at: datetime,
    *,
    symbol: str = "BTC",
    price: float = 100.0,
    strikes: Sequence[float] = STRIKES,
    prob_beyond: Sequence[float] = (20.5, float("nan"), 10.25),
    model: str = "momentum",
    status: str = "ok",
    closing_price: float | None = None,
    settlement: str = "last_price",
    basis_bps: float | None = None,
    source: str | None = None,
) -> datetime:
    """Store an answer given at an instant (aware) for the market of that hour; return the market's close."""
    close = at.replace(minute=0, second=0, microsecond=0) + HOUR
    with database.connect("test", None) as connection:
        connection.execute("SELECT live_data.create_day_partition('answer', %s)", [at.date()])
        connection.execute(
            """
            INSERT INTO live_data.answer (symbol, answered_at, market_close, ttc_seconds, price, model, generation,
                bucket, sigma_pct, strikes, prob_beyond, status, closing_price, settlement, basis_bps, source)
            VALUES (%s, %s, %s, 900, %s, %s, 1, 3, NULL, %s, %s::float8[], %s, %s, %s, %s, %s)
            """,
            [
                symbol,
                at,
                close,
                price,
                model,
                [*strikes],
                [*prob_beyond],
                status,
                closing_price,
                settlement,
                basis_bps,
                source,
            ],
        )
    return close


def store_ticks(
    database: Database, symbol: str, close: datetime, ticks: Iterable[tuple[float, float]], source: str = "test"
) -> None:
    """Store ticks as pairs of seconds before a close (negative: after it) and price in USD."""
    rows = [(symbol, close - timedelta(seconds=seconds), price, source) for seconds, price in ticks]
    with database.connect("test", None) as connection:
        for day in {at.date() for _, at, _, _ in rows}:
            connection.execute("SELECT live_data.create_day_partition('price_log', %s)", [day])
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) VALUES (%s, %s, %s, %s)", rows
            )
