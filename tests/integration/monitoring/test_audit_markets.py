"""The audit measures how current the markets are, where there is a source of them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from market_listings import listing, market

from pipelines.domain.markets.contracts import Market, MarketResult, MarketStatus
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.domain.monitoring.audit.measurements import Measurements
from pipelines.monitoring.audit import markets
from pipelines.settings import load_settings
from pipelines.storage.markets.markets import MarketRecord, upsert_markets
from pipelines.storage.postgres.connection import Connection, Database, Role

NOW = datetime.now(UTC).replace(microsecond=0)


def measured(database: Database) -> Measurements:
    with database.connect("test", Role.READER) as connection:
        return markets.measure(load_settings(), connection, NOW)


def store(connection: Connection, *stored: Market) -> dict[str, int]:
    records = [MarketRecord("BTC", SettlementRule.MEAN_60S, listing(one)) for one in stored]
    return dict(upsert_markets(connection, "kalshi", records).ids)


def test_without_a_source_nothing_is_measured(database: Database) -> None:
    found = measured(database)
    assert (found.items, found.gaps) == ([], [])


def test_the_newest_quote_and_markets_without_a_result_are_measured(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIKECAST_MARKETS__SOURCE", "kalshi")
    assert len(measured(database).gaps) == 2, "of BTC and ETH"
    open_ = market(event="KXBTCD-OPEN", closes_at=NOW + timedelta(minutes=30))
    late = market(event="KXBTCD-LATE", closes_at=NOW - timedelta(hours=2))
    just_closed = market(event="KXBTCD-CLOSED", closes_at=NOW - timedelta(minutes=5))
    final = replace(
        market(event="KXBTCD-FINAL", closes_at=NOW - timedelta(hours=3)),
        status=MarketStatus.FINALIZED,
        result=MarketResult.NO,
    )
    with database.connect("test", Role.LIVE) as connection:
        ids = store(connection, open_, late, just_closed, final)
        connection.execute(
            "SELECT market_data.create_day_partition('market_quote', %s)", [(NOW - timedelta(seconds=7)).date()]
        )
        connection.execute(
            "INSERT INTO market_data.market_quote (market_id, quoted_at, yes_bid) VALUES (%s, %s, 0.5)",
            [ids[open_.ticker], NOW - timedelta(seconds=7)],
        )
    found = measured(database)
    by_name = {(one.name, one.labels.get("symbol")): one.value for one in found.items}
    assert by_name[("market_quote_age", "BTC")] == 7
    assert by_name[("unsettled_markets", "BTC")] == 1
    assert by_name[("unsettled_markets", "ETH")] == 0
    assert by_name[("market_days_ahead", None)] >= 3
    assert ["quotes of ETH" in str(gap) for gap in found.gaps] == [True]
