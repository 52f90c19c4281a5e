"""The price archive: bars are deleted only after their file reads back equal, and can be ingested again."""

import hashlib
from datetime import UTC, date, datetime
from pathlib import Path

import orjson
import polars as pl
import pytest

from pipelines.errors import BuildError, NoDataError
from pipelines.ingestion.ingest import ingest
from pipelines.maintenance.archive import plan, run
from pipelines.settings import Settings, load_settings
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.prices import archive as price_archive
from pipelines.storage.queries.query import run_query

NOW = datetime(2025, 6, 15, tzinfo=UTC)
MONTHS = ("2025-01", "2025-02", "2025-03")
JANUARY, FEBRUARY, MARCH = 31 * 24, 28 * 24, 31 * 24


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("STRIKECAST_ARCHIVE", '{"after_months": 2}')
    return load_settings()


@pytest.fixture(autouse=True)
def one_an_hour(database: Database) -> None:
    """One bar in each hour, at varying minutes, of BTC from January to mid June, with momentum."""
    with database.connect("test", None) as connection:
        connection.execute("SELECT historical_data.create_symbol_partitions('BTC')")
        connection.execute("TRUNCATE historical_data.price_history, historical_data.momentum")
        connection.execute(
            "INSERT INTO historical_data.price_history "
            "SELECT 'BTC', at + make_interval(mins => mod(number * 7, 60)::integer), round((100 + random())::numeric, 2)::float8, 102, 99, 100.5, 0.1 "
            "FROM generate_series('2025-01-01Z'::timestamptz, '2025-06-14 23:00Z', '1 hour') "
            "WITH ORDINALITY AS hour (at, number)"
        )
        connection.execute(
            "INSERT INTO historical_data.momentum SELECT symbol, opened_at, 0.1, 1 FROM historical_data.price_history"
        )


def stored(database: Database) -> list[tuple[object, ...]]:
    with database.connect("test", Role.READER) as connection:
        return connection.execute("SELECT * FROM historical_data.price_history ORDER BY opened_at").fetchall()


def query(settings: Settings, database: Database, question: str) -> list[tuple[object, ...]]:
    with (
        database.connect("test", Role.READER) as connection,
        run_query(connection, settings.archive_dir, question) as result,
    ):
        return list(result.rows())


def test_old_months_are_moved_to_files_with_equal_content(database: Database, settings: Settings) -> None:
    before = stored(database)
    report = run(settings, database, NOW)
    assert [(f"{one.month:%Y-%m}", one.rows, one.removed) for one in report.months] == [
        (MONTHS[0], JANUARY, JANUARY),
        (MONTHS[1], FEBRUARY, FEBRUARY),
        (MONTHS[2], MARCH, MARCH),
    ]
    files = sorted((settings.archive_dir / "BTC").glob("*.parquet"))
    frames = pl.concat([pl.read_parquet(path) for path in files])
    assert [("BTC", *row) for row in frames.rows()] == before[: len(frames)]
    assert stored(database) == before[len(frames) :]
    beside = orjson.loads(files[0].with_suffix(".json").read_bytes())
    assert beside["rows"] == JANUARY
    assert beside["sha256"] == hashlib.sha256(files[0].read_bytes()).hexdigest()
    with database.connect("test", Role.READER) as connection:
        assert connection.execute(
            "SELECT count(*) FROM historical_data.momentum WHERE opened_at < '2025-04-01Z'"
        ).fetchone() == (0,)
    assert run(settings, database, NOW).months == ()


def test_archived_months_can_be_ingested_and_archived_again(database: Database, settings: Settings) -> None:
    before = stored(database)
    run(settings, database, NOW)
    report = ingest(database, "BTC", [settings.archive_dir / "BTC"], NOW)
    assert report.inserted == JANUARY + FEBRUARY + MARCH
    assert stored(database) == before
    again = run(settings, database, NOW)
    assert [one.rows for one in again.months] == [JANUARY, FEBRUARY, MARCH]


def test_a_file_keeps_bars_that_the_table_lacks_and_takes_corrections(database: Database, settings: Settings) -> None:
    run(settings, database, NOW)
    with database.connect("test", None) as connection:
        connection.execute(
            "INSERT INTO historical_data.price_history VALUES ('BTC', '2025-01-05 00:19Z', 50, 60, 40, 55, 7)"
        )
    (month,) = run(settings, database, NOW).months
    assert (month.rows, month.removed) == (JANUARY, 1)
    frame = pl.read_parquet(month.file)
    assert frame.filter(pl.col("timestamp") == datetime(2025, 1, 5, 0, 19, tzinfo=UTC))["close"].to_list() == [55.0]


def test_a_query_covers_database_and_archive_and_counts_every_bar_once(database: Database, settings: Settings) -> None:
    question = "SELECT count(*), count(DISTINCT opened_at), count(*) FILTER (archived) FROM price WHERE symbol = 'BTC'"
    count = len(stored(database))
    assert query(settings, database, question) == [(count, count, 0)]
    run(settings, database, NOW)
    assert query(settings, database, question) == [(count, count, JANUARY + FEBRUARY + MARCH)]
    ingest(database, "BTC", [settings.archive_dir / "BTC" / "btc_1m_2025-01.parquet"], NOW)
    assert query(settings, database, question) == [(count, count, FEBRUARY + MARCH)]
    with pytest.raises(NoDataError, match="the query failed"):
        query(settings, database, "SELECT nothing FROM price")


def test_a_file_that_does_not_read_back_equal_removes_nothing(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_another(frame: pl.DataFrame, path: Path, **options: object) -> None:
        original(frame.with_columns(pl.col("close") + 1e-9), path, compression="zstd")

    before, original = stored(database), pl.DataFrame.write_parquet
    monkeypatch.setattr(pl.DataFrame, "write_parquet", write_another)
    with pytest.raises(BuildError, match="was not read back as it was written: nothing was removed"):
        run(settings, database, NOW)
    assert stored(database) == before
    assert list(settings.archive_dir.rglob("*.parquet*")) == []


def test_a_run_killed_before_its_commit_loses_nothing(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File and bars both exist; the next run writes the same file and deletes the bars."""
    before = stored(database)

    def killed(*_: object) -> str:
        original(*_)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    original = price_archive._write
    monkeypatch.setattr(price_archive, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        run(settings, database, NOW)
    monkeypatch.undo()
    assert stored(database) == before
    monkeypatch.setenv("STRIKECAST_ARCHIVE", '{"after_months": 2}')
    run(settings, database, NOW)
    assert query(settings, database, "SELECT count(*) FROM price") == [(len(before),)]


def test_a_clock_in_the_future_archives_no_additional_months(database: Database, settings: Settings) -> None:
    far = plan(settings, database, datetime(2040, 1, 1, tzinfo=UTC))
    assert [one.month for one in far.months] == [date(2025, 1, 1), date(2025, 2, 1), date(2025, 3, 1)]
    early = plan(settings, database, datetime(2025, 4, 2, tzinfo=UTC))
    assert [one.month for one in early.months] == [date(2025, 1, 1)]
