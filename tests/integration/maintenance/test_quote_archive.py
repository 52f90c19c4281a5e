"""Days of quotes are archived and become candles before retention drops them, and can be imported again."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import orjson
import polars as pl
import pytest
from market_listings import listing, market

from pipelines.domain.markets.settlement import SettlementRule
from pipelines.ingestion.markets.importing import import_recording
from pipelines.maintenance.retention import plan, run
from pipelines.settings import Settings, load_settings
from pipelines.storage.live.day_partitions import create_day_partitions
from pipelines.storage.maintenance import retention as repository
from pipelines.storage.markets import archive
from pipelines.storage.markets.markets import MarketRecord, upsert_markets
from pipelines.storage.postgres.connection import Database, Role

NOW = datetime.now(UTC).replace(hour=2, minute=0, second=0, microsecond=0)
OLD = (NOW - timedelta(days=40)).replace(hour=17)
NAME = f"market_quote_{OLD:%Y%m%d}"
TICKER = "KXBTCD-26JUL2214-T118499.99"
MINUTES = 5


@pytest.fixture
def settings(database: Database, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("STRIKECAST_DAGSTER_DATABASE", str(database.parameters["dbname"]))
    monkeypatch.setenv("STRIKECAST_RETENTION", '{"market_quote_days": 30}')
    return load_settings()


@pytest.fixture(autouse=True)
def old_day(database: Database) -> Iterator[None]:
    """Quotes of 40 days ago, of two exchanges, and of today."""
    with database.connect("test", None) as connection:
        create_day_partitions(connection, [OLD.date(), NOW.date()], ["market_quote"])
        for table in ("market_quote", "market_candle", "market"):
            connection.execute(f"DELETE FROM market_data.{table}")
        for exchange in ("kalshi", "simulated"):
            record = MarketRecord("BTC", SettlementRule.MEAN_60S, listing(market(closes_at=OLD + timedelta(hours=1))))
            upsert_markets(connection, exchange, [record])
        insert(connection, OLD, MINUTES * 6)
        insert(connection, NOW, 1)
    yield
    with database.connect("test", None, autocommit=True) as connection:
        names = connection.execute(
            "SELECT relname FROM pg_class WHERE relname ~ '^market_quote_[0-9]{8}$' AND relkind = 'r'"
        ).fetchall()
        for (name,) in names:
            connection.execute(f"DROP TABLE market_data.{name}")


def insert(connection: Any, since: datetime, rows: int) -> None:
    """Insert quotes each ten seconds; each third bid is 0.0013."""
    connection.execute(
        "INSERT INTO market_data.market_quote (market_id, quoted_at, yes_bid, yes_bid_size, no_bid, volume)"
        " SELECT market_id, %s + n * interval '10 seconds',"
        "  CASE mod(n, 3) WHEN 0 THEN 0.0013 WHEN 1 THEN 0.4 END, CASE WHEN mod(n, 3) < 2 THEN 10.25 END, 0.55, n"
        " FROM market_data.market CROSS JOIN generate_series(0, %s - 1) AS n",
        [since, rows],
    )


def quotes(database: Database) -> list[tuple[Any, ...]]:
    with database.connect("test", Role.READER) as connection:
        return connection.execute(
            "SELECT exchange, ticker, quoted_at, yes_bid, yes_bid_size, no_bid, volume FROM market_data.quote"
            " WHERE quoted_at < %s ORDER BY exchange, quoted_at",
            [NOW - timedelta(days=1)],
        ).fetchall()


def candles(database: Database) -> int:
    with database.connect("test", Role.READER) as connection:
        [(number,)] = connection.execute("SELECT count(*) FROM market_data.market_candle WHERE is_derived").fetchall()
        return int(number)


def partitions(database: Database) -> list[str]:
    with database.connect("test", None) as connection:
        facts = repository.read_facts(connection, ["BTC"], NOW, NOW)
        return [one.name for one in facts.partitions if "quote" in one.name]


def file_of(settings: Settings, exchange: str) -> Path:
    return settings.archive_dir / "markets" / exchange / f"{exchange}_quotes_{OLD:%Y-%m-%d}.parquet"


def test_an_expired_day_is_archived_and_dropped_with_its_candles_kept(database: Database, settings: Settings) -> None:
    before = quotes(database)
    assert len(before) == 2 * MINUTES * 6
    report = run(settings, database, NOW)
    assert report.skipped == ()
    assert [(one.target, one.reason) for one in report.plan.quotes] == [(NAME, "older than 30 days")]
    assert report.rows["market_quote"] == len(before)
    assert quotes(database) == []
    assert NAME not in partitions(database)
    assert candles(database) == 2 * MINUTES
    assert [(one.exchange, one.rows) for one in report.archived] == [
        ("kalshi", MINUTES * 6),
        ("simulated", MINUTES * 6),
    ]
    kalshi = file_of(settings, "kalshi")
    assert orjson.loads(kalshi.with_suffix(".json").read_bytes())["rows"] == MINUTES * 6
    assert report.archived[0].sha256 == hashlib.sha256(kalshi.read_bytes()).hexdigest()
    frame = pl.read_parquet(kalshi).sort("quoted_at")
    assert frame["yes_bid_dollars"].to_list()[:3] == [Decimal("0.0013"), Decimal("0.4"), None]
    with database.connect("test", Role.READER) as connection:
        recorded = connection.execute(
            "SELECT result -> 'archived' FROM ops.maintenance ORDER BY maintenance_id DESC"
        ).fetchone()
    assert recorded is not None
    assert [one["exchange"] for one in recorded[0]] == ["kalshi", "simulated"]


def test_candles_at_midnight_keep_the_quotes_of_the_day_before(database: Database, settings: Settings) -> None:
    """The second day is archived after the first was dropped, in whose quotes its first minute begins."""
    midnight = (OLD + timedelta(days=1)).replace(hour=0)
    with database.connect("test", None) as connection:
        create_day_partitions(connection, [midnight.date()], ["market_quote"])
        connection.execute("DELETE FROM market_data.market_quote")
        connection.execute("UPDATE market_data.market SET closes_at = %s", [midnight + timedelta(hours=1)])
        insert(connection, midnight - timedelta(seconds=85), 18)

    def derived() -> list[tuple[Any, ...]]:
        with database.connect("test", Role.READER) as connection:
            return connection.execute(
                "SELECT * FROM market_data.market_candle WHERE ends_at > %s ORDER BY market_id, ends_at",
                [midnight - timedelta(minutes=3)],
            ).fetchall()

    run(settings, database, NOW - timedelta(days=9))
    assert NAME not in partitions(database)
    assert f"market_quote_{midnight:%Y%m%d}" in partitions(database)
    before = derived()
    assert [row[1] - midnight for row in before[:4]] == [timedelta(minutes=at) for at in (-1, 0, 1, 2)]
    assert len(before) == 8
    run(settings, database, NOW)
    assert f"market_quote_{midnight:%Y%m%d}" not in partitions(database)
    assert derived() == before


def test_archived_quotes_can_be_imported_again(database: Database, settings: Settings) -> None:
    before = quotes(database)
    run(settings, database, NOW)
    for exchange in ("kalshi", "simulated"):
        report = import_recording(database, file_of(settings, exchange), {})
        assert (report.exchange, report.rows_rejected, report.quotes_unchanged) == (exchange, 0, 0)
    assert quotes(database) == before
    assert candles(database) == 2 * MINUTES


def test_the_file_of_a_day_keeps_what_the_table_lacks(database: Database, settings: Settings) -> None:
    before = quotes(database)
    run(settings, database, NOW)
    with database.connect("test", None) as connection:
        create_day_partitions(connection, [OLD.date()], ["market_quote"])
        insert(connection, OLD + timedelta(minutes=30), 2)
    report = run(settings, database, NOW)
    assert [one.rows for one in report.archived] == [MINUTES * 6 + 2] * 2
    import_recording(database, file_of(settings, "kalshi"), {})
    assert set(before[: MINUTES * 6]) < set(quotes(database))


def test_a_dry_run_shows_the_day_and_leaves_it(database: Database, settings: Settings) -> None:
    planned = plan(settings, database, NOW)
    assert ("archive and drop", NAME, "older than 30 days") in planned.lines()
    assert NAME in partitions(database)
    assert not settings.archive_dir.exists()


def test_a_file_that_does_not_read_back_equal_keeps_the_day(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = quotes(database)
    written = archive.SQL["quotes_in_order"]
    monkeypatch.setattr(archive, "SQL", {**{name: archive.SQL[name] for name in archive.SQL.names}})
    archive.SQL["quotes_in_order"] = f"{written} LIMIT 5"  # type: ignore[index]
    report = run(settings, database, NOW)
    assert report.skipped == (
        f"kalshi_quotes_{OLD:%Y-%m-%d}.parquet was not read back as it was written: nothing was removed from the database",
    )
    assert quotes(database) == before
    assert list(settings.archive_dir.glob("markets/*/*")) == []


def test_a_folder_that_cannot_be_written_keeps_the_day(database: Database, settings: Settings) -> None:
    before = quotes(database)
    settings.archive_dir.parent.mkdir(parents=True, exist_ok=True)
    settings.archive_dir.write_text("a file where the folder should be")
    [reason] = run(settings, database, NOW).skipped
    assert reason.startswith(f"{NAME} cannot be archived: ")
    assert quotes(database) == before
    settings.archive_dir.unlink()
    assert run(settings, database, NOW).rows["market_quote"] == len(before)


def test_a_removal_that_was_interrupted_is_finished_with_its_archive(database: Database, settings: Settings) -> None:
    before = quotes(database)
    with database.connect("test", None) as connection:
        connection.execute(f"ALTER TABLE market_data.market_quote DETACH PARTITION market_data.{NAME}")
    report = run(settings, database, NOW)
    assert report.rows["market_quote"] == len(before)
    assert [one.rows for one in report.archived] == [MINUTES * 6] * 2
    assert NAME not in partitions(database)


def test_quotes_that_come_between_archive_and_drop_are_archived_too(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop = repository.drop_quotes

    def insert_first(*arguments: Any) -> Any:
        with database.connect("test", None) as connection:
            insert(connection, OLD + timedelta(minutes=40), 3)
        return drop(*arguments)

    monkeypatch.setattr(repository, "drop_quotes", insert_first)
    report = run(settings, database, NOW)
    assert report.rows["market_quote"] == 2 * (MINUTES * 6 + 3)
    assert len(pl.read_parquet(file_of(settings, "kalshi"))) == MINUTES * 6 + 3


def test_empty_days_are_dropped_without_files(database: Database, settings: Settings) -> None:
    with database.connect("test", None) as connection:
        connection.execute("DELETE FROM market_data.market_quote")
    report = run(settings, database, NOW)
    assert (report.archived, report.rows.get("market_quote", 0), report.skipped) == ((), 0, ())
    assert NAME not in partitions(database)


def test_the_archive_reads_in_duckdb_without_strikecast(database: Database, settings: Settings) -> None:
    run(settings, database, NOW)
    with duckdb.connect() as reader:
        found = reader.execute(
            "SELECT exchange, ticker, count(*), sum(yes_bid_dollars) FROM read_parquet(?) GROUP BY ALL ORDER BY 1",
            [str(settings.archive_dir / "markets" / "*" / "*.parquet")],
        ).fetchall()
    total = MINUTES * 2 * (Decimal("0.0013") + Decimal("0.4"))
    assert found == [(exchange, TICKER, MINUTES * 6, total) for exchange in ("kalshi", "simulated")]
