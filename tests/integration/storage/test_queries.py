"""Plans of frequent queries, custom and generic, and equality of SQL and Python answers."""

from collections.abc import Callable, Iterator
from types import ModuleType

import numpy as np
import psycopg
import pytest

from pipelines.domain.configuration.model import Profile
from pipelines.domain.models.interpolation import clip_before_close, interpolate_beyond
from pipelines.storage.evaluation import edge
from pipelines.storage.live import ticks
from pipelines.storage.markets import markets
from pipelines.storage.models import tables
from pipelines.storage.models.generations import read_version
from pipelines.storage.models.ladders import ladder_payload
from pipelines.storage.models.tables import read_fingerprints
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.prices import history, incoming_bars

Build = Callable[..., int]


@pytest.fixture(scope="module")
def filled(database: Database) -> Database:
    """Enough rows that a sequential scan would be slow."""
    with database.connect("test", None) as connection:
        connection.execute("SELECT historical_data.create_symbol_partitions('BTC')")
        connection.execute(
            """
            INSERT INTO historical_data.price_history
            SELECT 'BTC', '2026-01-01Z'::timestamptz + minute * interval '1 minute', 1, 1, 1, 1, 1
            FROM generate_series(1, 50000) AS minute
            """
        )
        connection.execute("SELECT historical_data.analyze_symbol('BTC')")
        connection.execute(
            """
            SELECT live_data.create_day_partition('price_log', '2026-01-01'::date + day)
            FROM generate_series(0, 2) AS day
            """
        )
        connection.execute(
            """
            INSERT INTO live_data.price_log (symbol, ticked_at, price, source)
            SELECT s, '2026-01-01Z'::timestamptz + second * interval '10 seconds', 1, 'test'
            FROM generate_series(1, 20000) AS second, unnest(ARRAY['BTC', 'ETH']) AS s
            """
        )
        connection.execute("ANALYZE live_data.price_log")
        connection.execute(
            """
            INSERT INTO market_data.market (
                exchange, ticker, event_ticker, series_ticker, symbol, settlement, strike_type, floor_strike, opens_at,
                closes_at, price_ranges, status, result
            )
            SELECT 'kalshi', 'E' || hour || '-T' || strike, 'E' || hour, 'KX' || mod(hour, 3), 'BTC', 'mean_60s', 'greater',
                strike, '2026-01-01Z'::timestamptz + (hour - 1) * interval '1 hour',
                '2026-01-01Z'::timestamptz + hour * interval '1 hour', '[]', 'finalized',
                CASE WHEN mod(hour, 50) > 0 THEN 'yes' END
            FROM generate_series(1, 500) AS hour, generate_series(1, 40) AS strike
            """
        )
        connection.execute("ANALYZE market_data.market")
    return database


HOT = [
    (history, "newest_bar", ["BTC"], "price_history_btc_pkey"),
    (history, "latest_bars", ["BTC", 1440], "price_history_btc_pkey"),
    (
        ticks,
        "live_tick_history",
        {
            "symbols": "{BTC,ETH}",
            "since": "{2026-01-03T05:30:00Z,2026-01-03T05:30:00Z}",
            "until": "2026-01-03T06:00:00Z",
            "replayed": False,
            "limit": 20_000,
        },
        "price_log_20260103_pkey",
    ),
    (
        ticks,
        "minute_prices",
        {"since": "2026-01-03T05:30:00Z", "symbol": "BTC", "replayed": False, "outlier_change": 0.1},
        "price_log_20260103_pkey",
    ),
    (markets, "markets_by_ticker", ["kalshi", "{KXBTCD-26JAN0100-T1}"], "market_exchange_ticker_key"),
    (markets, "unsettled_markets", ["kalshi", "2026-01-02Z", "2026-01-02T06:00Z"], "market_without_result"),
    (
        edge,
        "closed_markets",
        {
            "exchange": "kalshi",
            "series": "KXBTCD",
            "symbol": "BTC",
            "since": "2026-01-02T00:00Z",
            "until": "2026-01-02T06:00Z",
        },
        "market_by_close",
    ),
    (
        incoming_bars,
        "range_of_symbol",
        {"symbol": "BTC", "first": "2026-01-02T00:00Z", "last": "2026-01-02T06:00Z"},
        "price_history_btc_pkey",
    ),
    (tables, "lookup_rows", [1, 1, 900, 905], "lookup_1_pkey"),
    (tables, "lookup_bucket", [1, 1], "lookup_1_pkey"),
]


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize(("repository", "name", "parameters", "index"), HOT)
def test_a_hot_query_uses_its_index(
    filled: Database,
    build: Build,
    repository: ModuleType,
    name: str,
    parameters: list[object] | dict[str, object],
    index: str,
    mode: str,
) -> None:
    with filled.connect("test", None) as connection:
        if connection.execute("SELECT 1 FROM analytics.model_version WHERE generation = 1").fetchone() is None:
            build("BTC", seed=1)
        connection.execute("SELECT set_config('plan_cache_mode', %s, true)", [mode])
        typed = repository.SQL[name]
        for i in range(1, typed.count("%s") + 1):
            typed = typed.replace("%s", f"${i}", 1)
        if isinstance(parameters, dict):
            for i, key in enumerate(parameters, start=1):
                typed = typed.replace(f"%({key})s", f"${i}")
            parameters = list(parameters.values())
        types = ", ".join({str: "text", int: "integer"}.get(type(value), "boolean") for value in parameters)
        types = {
            "live_tick_history": "text[], timestamptz[], timestamptz, boolean, integer",
            "minute_prices": "timestamptz, text, boolean, double precision",
            "markets_by_ticker": "text, text[]",
            "unsettled_markets": "text, timestamptz, timestamptz",
            "range_of_symbol": "text, timestamptz, timestamptz",
            "closed_markets": "text, text, text, timestamptz, timestamptz",
        }.get(name, types)
        connection.execute(f"PREPARE hot ({types}) AS {typed}")
        literals = ", ".join(psycopg.sql.Literal(value).as_string(connection) for value in parameters)
        plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN EXECUTE hot ({literals})").fetchall())
    assert index in plan, plan
    scanned = [line for line in plan.splitlines() if "Seq Scan" in line and "rows=1 " not in line]
    assert not scanned, plan  # partitions without ticks may be scanned


#: Plans with the two of snapshots are in test_state_store.py, those of markets above; `session_by_predecessor` serves the
#: foreign key when retention deletes, `edge_run_newest` the newest scores of each series.
INDEXES_FOR_READERS = {
    "live_data.position_snapshots_by_trade",
    "live_data.session_snapshots_by_session",
    "live_data.session_by_predecessor",
    "market_data.market_by_close",
    "market_data.market_by_event",
    "market_data.market_by_symbol",
    "market_data.market_without_result",
    "ops.audit_figure_by_name",
}


def test_every_index_has_a_constraint_or_a_reader(database: Database) -> None:
    with database.connect("test", None) as connection:
        bare = connection.execute(
            """
            SELECT indexrelid::regclass::text FROM pg_index
            JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_namespace AS s ON s.oid = relnamespace
            WHERE s.nspname IN ('historical_data', 'analytics', 'live_data', 'market_data', 'ops')
                AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid)
            """
        ).fetchall()
    assert {name for (name,) in bare} == INDEXES_FOR_READERS


@pytest.fixture(scope="module")
def reader(database: Database) -> Iterator[Connection]:
    with database.connect("test", Role.READER, autocommit=True) as connection:
        yield connection


def sql_answer(connection: Connection, *arguments: object) -> tuple[object, ...]:
    row = connection.execute(
        "SELECT prob_beyond, direction, bucket, clamped, model_version, reason "
        "FROM analytics.strike_probability(%s, %s, %s, %s, %s)",
        arguments,
    ).fetchone()
    assert row is not None
    return row


def test_sql_python_and_interpolation_give_the_same_answer(
    database: Database, build: Build, reader: Connection
) -> None:
    generation = build("SAME", seed=3)
    version = read_version(reader, generation)
    tables = read_fingerprints(reader, version)
    rng = np.random.default_rng(5)
    for ttc in (0.0, 1.0, 2.5, 59.9, 60.0, 61.0, 333.3, 3599.0, 3600.0):
        price, momentum = float(rng.uniform(99, 101)), float(rng.uniform(-0.05, 0.05))
        payload = ladder_payload(database, "SAME", 0.25, price, ttc, momentum)
        table = tables.index(payload["momentum_bucket"])
        for row in payload["probabilities"]:
            answer = sql_answer(reader, "SAME", price, row["strike"], ttc, momentum)
            assert abs(float(str(answer[0])) - row["prob_beyond"]) < 0.0101, (ttc, row)
            assert answer[1:3] == (row["direction"], payload["momentum_bucket"])
            assert answer[4:] == (generation, None)
            side = tables.positive if row["direction"] == "above" else tables.negative
            move = abs(row["strike"] - price) / price * 10_000
            exact = interpolate_beyond(side[table], tables.nodes, ttc, move, Profile.SOUND)
            certain = float(clip_before_close(exact, ttc, Profile.SOUND))
            assert abs(certain - row["prob_beyond"]) < 0.0101, (ttc, row)


def test_python_and_sql_agree_on_what_is_clamped(database: Database, build: Build, reader: Connection) -> None:
    build("CLAMP", seed=3)
    for ttc in (0.0, 10.0, 900.0):
        payload = ladder_payload(database, "CLAMP", 0.25, 100.0, ttc, 0.01)
        clamped = [sql_answer(reader, "CLAMP", 100.0, strike, ttc, 0.01)[3] for strike in payload["strikes"]]
        assert sum(bool(value) for value in clamped) == payload["clamped"], ttc


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("NONE", 100.0, 101.0, 900.0, 0.01), "no generation is published for NONE"),
        (("SAME", 100.0, 101.0, 900.0, None), "momentum_score is not known"),
        (("SAME", 100.0, 101.0, 900.0, float("nan")), "momentum_score is not known"),
        (("SAME", -1.0, 101.0, 900.0, 0.0), "price and strike must be positive, ttc_seconds must not be negative"),
        (
            ("SAME", 100.0, float("inf"), 900.0, 0.0),
            "price and strike must be positive, ttc_seconds must not be negative",
        ),
        (("SAME", 100.0, 101.0, -1.0, 0.0), "price and strike must be positive, ttc_seconds must not be negative"),
    ],
)
def test_a_null_answer_has_a_reason(reader: Connection, arguments: tuple[object, ...], reason: str) -> None:
    answer = sql_answer(reader, *arguments)
    assert answer[0] is None
    assert answer[-1] == reason


def test_the_view_of_lookup_cells_has_every_cell_once(database: Database, build: Build, reader: Connection) -> None:
    build("VIEW", seed=1)
    row = reader.execute(
        "SELECT count(*), count(DISTINCT (ttc_seconds, move_bps, momentum_bucket)), min(move_bps), max(move_bps), "
        "count(prob_within_positive) FROM analytics.lookup_cell WHERE symbol = 'VIEW' AND momentum_bucket IN (0, 1)"
    ).fetchone()
    assert row == (2 * 721 * 201, 2 * 721 * 201, 0, 200, 2 * 721 * 201)


def test_62_views_have_the_originals_columns(database: Database, build: Build, reader: Connection) -> None:
    generation = build("OLD", seed=1)
    names = [
        row[0]
        for row in reader.execute(
            "SELECT viewname FROM pg_views WHERE schemaname = 'analytics' AND viewname LIKE 'old_fingerprint%'"
        ).fetchall()
    ]
    assert len(names) == 62
    assert {
        "old_fingerprint_directional_baseline",
        "old_fingerprint_directional_momentum_000",
        "old_fingerprint_directional_momentum_-30",
        "old_fingerprint_directional_momentum_030",
    } <= set(names)
    cursor = reader.execute('SELECT * FROM analytics."old_fingerprint_directional_momentum_-02"')
    columns = [column.name for column in cursor.description or []]
    rows = cursor.fetchall()
    tables = read_fingerprints(reader, read_version(reader, generation))
    assert columns[:5] == ["time_to_close", "pos_0_00", "neg_0_00", "pos_0_05", "neg_0_05"]
    assert len(columns) == 83
    assert columns[-1] == "neg_2_00"
    assert [row[0] for row in rows[:2]] == ["01m TTC", "02m TTC"]
    assert len(rows) == 60
    assert [row[3] for row in rows] == tables.positive[tables.index(-2), :, 1].tolist()
