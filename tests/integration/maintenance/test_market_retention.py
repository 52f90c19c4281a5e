"""Closed markets are archived before retention deletes them with what belongs to them, and can be imported again."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from market_listings import listing, market

from pipelines.domain.markets.contracts import MarketResult, MarketStatus
from pipelines.domain.markets.fees import FeePeriod, FeeSchedule, FeeTerms
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.errors import MarketError
from pipelines.ingestion.markets.importing import import_recording
from pipelines.maintenance.retention import plan, run
from pipelines.settings import Settings, load_settings
from pipelines.storage.live.day_partitions import create_day_partitions
from pipelines.storage.markets import archive
from pipelines.storage.markets.fees import store_fees
from pipelines.storage.markets.markets import MarketRecord, upsert_markets
from pipelines.storage.postgres.connection import Database, Role

NOW = datetime.now(UTC).replace(hour=2, minute=0, second=0, microsecond=0)
CLOSE = (NOW - timedelta(days=61)).replace(hour=18)
YOUNG_CLOSE = CLOSE + timedelta(days=30)
EXPIRED = "KXBTCD-26JUL2214"
YOUNG = "KXBTCD-26AUG2114"
TABLES = ("market", "market_candle", "market_revision", "market_fee")
WAIVED = FeeSchedule((FeePeriod(FeeTerms(multiplier=Decimal(0))),))


@pytest.fixture
def settings(database: Database, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("STRIKECAST_DAGSTER_DATABASE", str(database.parameters["dbname"]))
    monkeypatch.setenv("STRIKECAST_RETENTION", '{"market_quote_days": 30, "market_days": 60}')
    return load_settings()


@pytest.fixture(autouse=True)
def stored(database: Database) -> Iterator[None]:
    """Markets of two exchanges that closed 61 days ago, with a revised result, and one that closed 31 days ago."""
    with database.connect("test", None) as connection:
        connection.execute("TRUNCATE market_data.market, market_data.market_candle, market_data.market_fee CASCADE")
        connection.execute("DELETE FROM market_data.market_quote")
        for event, closes_at in ((EXPIRED, CLOSE), (YOUNG, YOUNG_CLOSE)):
            for exchange in ("kalshi", "simulated"):
                for result in (MarketResult.NO, MarketResult.YES):
                    one = market(event=event, closes_at=closes_at, status=MarketStatus.FINALIZED, result=result)
                    upsert_markets(connection, exchange, [MarketRecord("BTC", SettlementRule.MEAN_60S, listing(one))])
                store_fees(connection, exchange, "KXBTCD", WAIVED, closes_at, event)
        connection.execute("UPDATE market_data.market SET changed_at = closes_at + interval '5 minutes'")
        connection.execute(
            "INSERT INTO market_data.market_candle (market_id, ends_at, yes_bid_open, yes_bid_high, yes_bid_low,"
            " yes_bid_close, yes_ask_open, yes_ask_high, yes_ask_low, yes_ask_close, volume, is_derived)"
            " SELECT market_id, closes_at - n * interval '1 minute', 0.3, 0.4105, NULL, 0.35, 0.5, 0.6, 0.5, 0.55, 2.25,"
            "  n = 2 FROM market_data.market CROSS JOIN generate_series(0, 2) AS n"
        )
    yield
    with database.connect("test", None, autocommit=True) as connection:
        connection.execute("TRUNCATE market_data.market, market_data.market_candle, market_data.market_fee CASCADE")
        names = connection.execute(
            "SELECT relname FROM pg_class WHERE relname ~ '^market_quote_[0-9]{8}$' AND relkind = 'r'"
        ).fetchall()
        for (name,) in names:
            connection.execute(f"DROP TABLE market_data.{name}")


def counts(database: Database) -> tuple[int, ...]:
    with database.connect("test", Role.READER) as connection:
        found = [connection.execute(f"SELECT count(*) FROM market_data.{table}").fetchone() for table in TABLES]
    return tuple(row[0] for row in found if row is not None)


def rows(database: Database, statement: str) -> list[tuple[Any, ...]]:
    with database.connect("test", Role.READER) as connection:
        return connection.execute(statement).fetchall()


def file_of(settings: Settings, kind: str, exchange: str = "kalshi") -> Path:
    return settings.archive_dir / "markets" / exchange / f"{exchange}_{kind}_{CLOSE:%Y-%m-%d}.parquet"


def test_expired_markets_are_archived_and_deleted_with_what_belongs_to_them(
    database: Database, settings: Settings
) -> None:
    assert counts(database) == (4, 12, 4, 4)
    report = run(settings, database, NOW)
    assert report.skipped == ()
    assert [(one.target, one.reason) for one in report.plan.markets] == [
        (f"{CLOSE:%Y-%m-%d}", "2 markets, older than 60 days")
    ]
    assert [report.rows[table] for table in TABLES[:3]] == [2, 6, 2]
    assert rows(database, "SELECT DISTINCT event_ticker FROM market_data.market") == [(YOUNG,)]
    written = [(Path(one.file).name, one.rows) for one in report.archived]
    assert sorted(written) == sorted(
        (file_of(settings, kind, exchange).name, number)
        for exchange in ("kalshi", "simulated")
        for kind, number in (("markets", 1), ("candles", 2))
    )
    [revisions] = pl.read_parquet(file_of(settings, "markets"))["revisions"].to_list()
    assert '"former_result": "no"' in revisions
    assert run(settings, database, NOW).rows["market_fee"] == 2, "fees of events without markets"
    assert counts(database) == (2, 6, 2, 2)


def test_archived_markets_and_candles_can_be_imported_again(database: Database, settings: Settings) -> None:
    columns = "exchange, ticker, symbol, settlement, floor_strike, opens_at, closes_at, price_ranges, status, result"
    markets = f"SELECT {columns} FROM market_data.market WHERE event_ticker = '{EXPIRED}' ORDER BY 1, 2"
    candles = (
        "SELECT exchange, ends_at, yes_bid_open, yes_bid_high, yes_bid_low, yes_bid_close, yes_ask_close, market_candle.volume"
        f" FROM market_data.market_candle JOIN market_data.market USING (market_id) WHERE event_ticker = '{EXPIRED}'"
        " AND NOT is_derived ORDER BY 1, 2"
    )
    before = rows(database, markets), rows(database, candles)
    run(settings, database, NOW)
    assert rows(database, markets) == []
    for exchange in ("kalshi", "simulated"):
        for kind in ("markets", "candles"):
            report = import_recording(database, file_of(settings, kind, exchange), {})
            assert (report.exchange, report.rows_rejected) == (exchange, 0)
    assert (rows(database, markets), rows(database, candles)) == before
    assert run(settings, database, NOW).rows.get("market", 0) == 0, "imported markets are kept as long as new ones"


def test_a_changed_file_of_the_archive_is_refused(database: Database, settings: Settings) -> None:
    run(settings, database, NOW)
    file = file_of(settings, "markets")
    pl.read_parquet(file).with_columns(pl.lit("none").alias("strike_type")).write_parquet(file)
    with pytest.raises(MarketError, match="row 1 is no archived market: 'none' is not a valid StrikeType"):
        import_recording(database, file, {})


def test_markets_of_which_quotes_are_stored_are_kept(database: Database, settings: Settings) -> None:
    with database.connect("test", None) as connection:
        create_day_partitions(connection, [(CLOSE + timedelta(days=1)).date()], ["market_quote"])
    planned = plan(settings, database, NOW)
    assert planned.markets == ()
    assert any(reason.startswith("2 expired markets: quotes are stored from ") for reason in planned.kept)
    run(settings, database, NOW)
    assert counts(database)[0] == 4, "the day of quotes was dropped after the plan"
    assert run(settings, database, NOW).rows["market"] == 2


def test_markets_that_changed_lately_are_kept(database: Database, settings: Settings) -> None:
    with database.connect("test", None) as connection:
        connection.execute("UPDATE market_data.market SET changed_at = now() WHERE exchange = 'simulated'")
    assert run(settings, database, NOW).rows["market"] == 1
    assert rows(database, f"SELECT exchange FROM market_data.market WHERE event_ticker = '{EXPIRED}'") == [
        ("simulated",)
    ]


def test_markets_whose_files_cannot_be_written_are_kept(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = archive.SQL["candles_in_order"]
    monkeypatch.setattr(archive, "SQL", {name: archive.SQL[name] for name in archive.SQL.names})
    archive.SQL["candles_in_order"] = f"{written} LIMIT 1"  # type: ignore[index]
    report = run(settings, database, NOW)
    assert report.skipped == (
        f"{file_of(settings, 'candles').name} was not read back as it was written: nothing was removed from the database",
    )
    assert counts(database)[0] == 4
