"""Rows of `live_data.answer` for tests."""

from datetime import datetime, timedelta

from pipelines.storage.postgres.connection import Database

STRIKES = (99.75, 100.0, 100.25)


def store_answer(database: Database, at: datetime, *, status: str = "ok", closing_price: float | None = None) -> None:
    """Store an answer of BTC at a price of 100 USD, given at an instant (aware): STRIKES with 20.5, no and 10.25 %."""
    close = at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    with database.connect("test", None) as connection:
        connection.execute("SELECT live_data.create_day_partition('answer', %s)", [at.date()])
        connection.execute(
            """
            INSERT INTO live_data.answer (symbol, answered_at, market_close, ttc_seconds, price, model, generation,
                bucket, sigma_pct, strikes, prob_beyond, status, closing_price)
            VALUES ('BTC', %s, %s, 900, 100.0, 'momentum', 1, 3, NULL, %s, '{20.5,NaN,10.25}', %s, %s)
            """,
            [at, close, list(STRIKES), status, closing_price],
        )
