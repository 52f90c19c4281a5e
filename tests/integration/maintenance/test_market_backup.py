"""Backups take markets in: a restored database has them, and is written to as before."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from backups import UNSIGNED, now
from market_listings import listing, market
from stored_markets import read_event, read_fees

from pipelines.domain.markets.contracts import MarketResult, MarketStatus
from pipelines.domain.markets.fees import FeePeriod, FeeSchedule, FeeTerms
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.maintenance.backup import create_backup
from pipelines.maintenance.restore import restore
from pipelines.storage.live.day_partitions import create_day_partitions
from pipelines.storage.maintenance.restored_databases import drop_database, table_facts
from pipelines.storage.markets.candles import derive_candles
from pipelines.storage.markets.fees import store_fees
from pipelines.storage.markets.markets import MarketRecord, upsert_markets
from pipelines.storage.postgres.connection import Connection, Database, Role

QUOTED_AT = datetime.now(UTC).replace(second=30, microsecond=0)
ONE = market(closes_at=(QUOTED_AT + timedelta(hours=1)).replace(second=0))
FINAL = replace(ONE, status=MarketStatus.FINALIZED, result=MarketResult.YES)
FEES = FeeSchedule((FeePeriod(FeeTerms(multiplier=Decimal("0.5"))),))


def store(connection: Connection, result: MarketResult) -> int:
    record = MarketRecord("BTC", SettlementRule.MEAN_60S, listing(replace(FINAL, result=result)))
    return upsert_markets(connection, "kalshi", [record]).ids[ONE.ticker]


def insert_quote(connection: Connection, market_id: int, at: datetime) -> None:
    connection.execute(
        "INSERT INTO market_data.market_quote (market_id, quoted_at, yes_bid, no_bid) VALUES (%s, %s, 0.0013, 0.58)",
        [market_id, at],
    )


def test_a_restored_database_has_the_markets_and_takes_new_ones(database: Database, tmp_path: Path) -> None:
    with database.connect("test", Role.PIPELINE) as connection:
        create_day_partitions(connection, [QUOTED_AT.date()], ["market_quote"])
        market_id = store(connection, MarketResult.YES)
        store(connection, MarketResult.NO)
        store_fees(connection, "kalshi", "KXBTCD", FEES, QUOTED_AT)
        insert_quote(connection, market_id, QUOTED_AT)
        assert derive_candles(connection, QUOTED_AT - timedelta(minutes=1), QUOTED_AT + timedelta(minutes=1)) == 1
    made = create_backup(database, tmp_path)
    rows = {one.table: one.rows for one in made.manifest.tables}
    day = f"market_quote_{QUOTED_AT:%Y%m%d}"
    assert [
        rows[f"market_data.{table}"] for table in ("market", day, "market_candle", "market_revision", "market_fee")
    ] == [1] * 5
    name = f"{database.parameters['dbname']}_copy"
    copy = Database(database.url_for(name))
    try:
        assert restore(database, made, name, now(), trust=UNSIGNED).differences == ()
        assert table_facts(copy) == made.manifest.tables
        with copy.connect("test", Role.LIVE) as connection:
            [found] = read_event(connection, "kalshi", ONE.event_ticker)
            assert found.market == replace(FINAL, result=MarketResult.NO)
            assert read_fees(connection, "kalshi", "KXBTCD") == FEES
            assert store(connection, MarketResult.YES) == market_id
            insert_quote(connection, market_id, QUOTED_AT + timedelta(seconds=1))
            revisions = connection.execute("SELECT count(*) FROM market_data.market_revision").fetchone()
            create_day_partitions(connection, [(QUOTED_AT + timedelta(days=30)).date()], ["market_quote"])
        assert revisions == (2,)
        with copy.connect("test", None) as connection:
            assert connection.execute("SELECT count(*) FROM ops.autovacuum_drift").fetchone() == (0,)
    finally:
        drop_database(database, name)
