"""Queries in DuckDB's SQL: they copy only what they need, and can read nothing else."""

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.domain.maintenance.archive import StoredMonth
from pipelines.errors import NoDataError, SettingsError
from pipelines.storage.files.archive import Archive
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.prices.archive import archive_month
from pipelines.storage.queries import relations
from pipelines.storage.queries.plan import Scan
from pipelines.storage.queries.query import run_query

FIRST = datetime(2025, 1, 1, tzinfo=UTC)
BARS = 90 * 24


@pytest.fixture(scope="module")
def archive(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BTC and ETH, a bar an hour from January to March; BTC's January is archived, and half of it stored again."""
    home = tmp_path_factory.mktemp("home")
    with database.connect("test", None) as connection:
        for symbol in ("BTC", "ETH"):
            connection.execute("SELECT historical_data.create_symbol_partitions(%s)", [symbol])
            connection.execute(
                "INSERT INTO historical_data.price_history SELECT %s, %s + n * interval '1 hour', 100 + n, 5000, 50, 100.5 + n, n / 7.0 "
                "FROM generate_series(0, %s - 1) AS n",
                [symbol, FIRST, BARS],
            )
    with database.connect("test", Role.PIPELINE, autocommit=True) as connection:
        archive_month(connection, Archive(home), StoredMonth("BTC", date(2025, 1, 1), 744, FIRST))
    with database.connect("test", None) as connection:
        connection.execute(
            "INSERT INTO historical_data.price_history SELECT 'BTC', %s + n * interval '1 hour', 100 + n, 5000, 50, 100.5 + n, n / 7.0 "
            "FROM generate_series(0, 371) AS n",
            [FIRST],
        )
    return home / "archive"


@pytest.fixture
def reader(database: Database, archive: Path) -> Iterator[Connection]:
    with database.connect("test", Role.READER) as connection:
        yield connection


def answer(reader: Connection, archive: Path, statement: str) -> list[tuple[Any, ...]]:
    with run_query(reader, archive, statement) as result:
        return list(result.rows())


def loaded(reader: Connection, archive: Path, statement: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Number of rows that a query copies of each relation."""
    counts: dict[str, int] = {}
    original = relations.load_relation

    def count(connection: Connection, queried: Any, relation: relations.Relation, *others: Any) -> None:
        original(connection, queried, relation, *others)
        counts[relation.name] = queried.execute(f'SELECT count(*) FROM loaded."{relation.name}"').fetchall()[0][0]

    monkeypatch.setattr("pipelines.storage.queries.query.load_relation", count)
    answer(reader, archive, statement)
    return counts


def test_every_bar_is_counted_once(reader: Connection, archive: Path) -> None:
    assert answer(
        reader, archive, "SELECT symbol, count(*), count(*) FILTER (archived) FROM price GROUP BY ALL ORDER BY 1"
    ) == [
        ("BTC", BARS, 744 - 372),
        ("ETH", BARS, 0),
    ]
    assert answer(reader, archive, "SELECT count(*) FROM price WHERE symbol = 'ETH'") == [(BARS,)]
    assert answer(reader, archive, "SELECT count(*) FROM price WHERE symbol = 'it''s' OR symbol = '100%'") == [(0,)]


@pytest.mark.parametrize(
    ("statement", "most"),
    [
        ("SELECT * FROM price WHERE symbol = 'ETH' AND opened_at >= '2025-03-01' AND opened_at < '2025-03-02'", 24),
        ("SELECT close FROM price WHERE symbol IN ('ETH', 'XXX') AND opened_at >= '2025-03-31'", 24),
        ("SELECT * FROM price WHERE date_trunc('day', opened_at) = '2025-03-02' ORDER BY opened_at DESC LIMIT 3", 48),
        (
            "WITH day AS (SELECT * FROM price WHERE opened_at < '2025-03-02') SELECT * FROM day WHERE opened_at > '2025-03-01'",
            48,
        ),
        ("SELECT * FROM price WHERE archived", 0),
        (
            "SELECT count(*) FROM price AS a JOIN price AS b USING (symbol, opened_at) WHERE symbol = 'ETH' AND opened_at = '2025-03-01'",
            1,
        ),
    ],
)
def test_only_the_bars_of_the_conditions_are_copied(
    reader: Connection, archive: Path, monkeypatch: pytest.MonkeyPatch, statement: str, most: int
) -> None:
    counts = loaded(reader, archive, statement, monkeypatch)
    in_both = 0 if "'ETH'" in statement else 372  # which archived bars of BTC are stored, too, is looked up
    assert counts.get("historical_data.price_history", 0) <= most + in_both


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(
            [
                "symbol = 'BTC'",
                "symbol <> 'BTC'",
                "symbol IN ('ETH', 'BTC')",
                "NOT archived",
                "opened_at >= '2025-02-01 00:00+00'",
                "opened_at < '2025-01-20 12:00+01'",
                "opened_at BETWEEN '2025-01-10' AND '2025-02-10'",
                "(opened_at < '2025-01-03' OR opened_at > '2025-03-30')",
                "(symbol = 'ETH' AND close > 900.25 OR volume < 3.5)",
                "year(opened_at) = 2025",
                "close - open > 0.4",
                "volume IS NOT NULL",
                "opened_at = (SELECT max(opened_at) FROM price WHERE symbol = 'ETH' AND close < 800)",
                "opened_at IN (SELECT opened_at FROM price WHERE symbol = 'ETH' ORDER BY close DESC LIMIT 7)",
            ]
        ),
        max_size=4,
    )
)
def test_conditions_select_what_they_select_of_all_rows(
    reader: Connection, archive: Path, conditions: list[str]
) -> None:
    """The copied rows are a subset of all; the query must give the same result as on a copy of all rows."""
    where = " AND ".join(conditions) or "true"
    selection = f"SELECT symbol, opened_at, close FROM price WHERE {where} ORDER BY ALL"
    # A random number keeps the conditions from being moved into the copy.
    everything = "WITH price AS MATERIALIZED (SELECT * FROM main.price WHERE random() >= 0)"
    assert answer(reader, archive, selection) == answer(reader, archive, f"{everything} {selection}")


def test_all_types_of_the_database_arrive(reader: Connection, archive: Path, database: Database) -> None:
    with database.connect("test", Role.LIVE) as connection:
        connection.execute("SELECT live_data.create_day_partition('answer', '2026-01-01')")
        connection.execute(
            "INSERT INTO live_data.answer VALUES ('BTC', '2026-01-01 00:10Z', '2026-01-01 01:00Z', 3000, 1.5, 'x,\"y', 7, NULL, "
            "'NaN', '{1,2.5}', '{NaN,40}', '', NULL)"
        )
    statement = (
        "SELECT answered_at, ttc_seconds, price, model, bucket, sigma_pct, strikes, prob_beyond, status, closing_price "
        "FROM live_data.answer WHERE symbol = 'BTC'"
    )
    (row,) = answer(reader, archive, statement)
    assert row[:5] == (datetime(2026, 1, 1, 0, 10, tzinfo=UTC), 3000, 1.5, 'x,"y', None)
    assert math.isnan(row[5])
    assert row[6] == [1.0, 2.5]
    assert math.isnan(row[7][0])
    assert row[7:][0][1] == 40.0
    assert row[8:] == ("", None)
    with run_query(reader, archive, statement) as result:
        frame = result.frame()
    assert frame.schema["answered_at"] == pl.Datetime("us", "UTC")
    assert answer(reader, archive, "SELECT strike, prob_beyond FROM live_data.answer_strike") == [(2.5, 40.0)]


def test_every_relation_can_be_read(reader: Connection, archive: Path) -> None:
    names = [relation.name for relation in relations.read_relations(reader)]
    assert len(names) > 30
    for name in names:
        answer(reader, archive, f'SELECT * FROM {name.split(".")[0]}."{name.split(".")[1]}" LIMIT 1')
    assert answer(reader, archive, "SELECT count(*) >= 30 FROM (SHOW ALL TABLES)") == [(True,)]


def test_a_pivot_reads_what_it_needs(reader: Connection, archive: Path) -> None:
    rows = answer(reader, archive, "PIVOT price ON symbol USING count(*) GROUP BY archived")
    assert sorted(rows) == [(False, BARS - 372, BARS), (True, 372, 0)]


@pytest.mark.parametrize(
    "statement",
    [
        "COPY (SELECT 1) TO '/tmp/strikecast-query'",
        "CREATE TABLE mine AS SELECT 1",
        "INSERT INTO price SELECT * FROM price",
        "ATTACH '/tmp/strikecast-query'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '/tmp/strikecast-query'",
        "SELECT 1; SELECT 2",
        "",
    ],
)
def test_only_a_select_is_executed(reader: Connection, archive: Path, statement: str) -> None:
    with pytest.raises(SettingsError, match="a query is one SELECT|the query is empty"):
        answer(reader, archive, statement)
    assert not Path("/tmp/strikecast-query").exists()  # noqa: S108


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/proc/self/environ')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM statement",
        "SELECT getenv('HOME')",
        "SELECT nothing FROM price",
        "SELEKT 1",
    ],
)
def test_files_and_variables_of_this_machine_cannot_be_read(reader: Connection, archive: Path, statement: str) -> None:
    with pytest.raises(NoDataError, match="the query failed") as raised:
        answer(reader, archive, statement)
    assert "EXPLAIN" not in str(raised.value)


def test_too_many_rows_are_refused_with_a_remedy(
    reader: Connection, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relations, "MOST_ROWS", 3)
    with pytest.raises(NoDataError, match=r"more than 3 rows of ops.autovacuum_setting: compare a column"):
        answer(reader, archive, "SELECT why FROM ops.autovacuum_setting")


def test_a_moment_of_the_clock_is_a_constant(reader: Connection, archive: Path) -> None:
    statement = "SELECT count(*) FROM price WHERE opened_at > now() - INTERVAL 1 DAY"
    assert answer(reader, archive, statement) == [(0,)]
    since = (datetime.now(UTC) - (FIRST + timedelta(days=89))).days + 1
    assert answer(reader, archive, statement.replace("1 DAY", f"{since} DAYS"))[0][0] > 0


@pytest.mark.parametrize(
    "statement", ["SELECT count(*) FROM ops.maintenance", "SELECT job FROM ops.maintenance WHERE job = 'x'"]
)
def test_a_relation_that_the_plan_does_not_name_is_an_error_and_not_empty(
    reader: Connection, archive: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    monkeypatch.setattr("pipelines.storage.queries.query.read_scans", lambda *_: [])
    with pytest.raises(NoDataError, match="was not read: this is a defect"):
        answer(reader, archive, statement)


def test_a_column_that_the_plan_does_not_name_is_an_error_and_not_null(
    reader: Connection, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = Scan("ops.autovacuum_setting", frozenset({"why"}))
    monkeypatch.setattr("pipelines.storage.queries.query.read_scans", lambda *_: [scan])
    assert answer(reader, archive, "SELECT why FROM ops.autovacuum_setting") != []
    with pytest.raises(NoDataError, match="table_pattern was not read"):
        answer(reader, archive, "SELECT table_pattern FROM ops.autovacuum_setting")
