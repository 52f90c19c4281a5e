"""The state store: a state is loaded as it was saved, or an error names the reason and nothing is saved."""

import math
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waiting import wait_until

from pipelines.errors import NoDataError, StateError
from pipelines.storage.live import state_store
from pipelines.storage.live.state_store import METRICS, RISK_GUARD, SnapshotType, StateStore
from pipelines.storage.postgres.connection import Connection, Database, Role

BEGAN = datetime(2026, 3, 29, 0, 59, 59, 999_999, tzinfo=UTC)


def state(name: str = "paper-1", **session: Any) -> dict[str, Any]:
    """A complete state with two positions, one of them half open."""
    return {
        "session": {
            "session_id": name,
            "session_start_time": BEGAN,
            "mode": "paper",
            "paper_campaign_id": "autumn",
            "config": {"limits": {"BTC": 0.1}, "on": True, "note": None},
            "loop_count": 12,
            "status": "running",
        }
        | session,
        "positions": {
            "active_orders": {
                "BTC-1": {
                    "trade": {"ticker": "KXBTCD-1", "count": 3, "price": 0.07},
                    "order_a": {"id": "a"},
                    "order_b": None,
                    "position_open_time": BEGAN + timedelta(minutes=5),
                },
                "Ürünß 📈": {
                    "trade": {},
                    "order_a": None,
                    "order_b": {"legs": [1, 2.5, None]},
                    "position_open_time": None,
                },
            }
        },
        "metrics": dict.fromkeys(METRICS)
        | {"trades_opened": 3, "total_pnl_usd": -0.1, "max_dd_usd": 1e23, "per_symbol_pnl": {"BTC": -0.1, "ETH": 0.0}},
        "risk_guard": dict.fromkeys(RISK_GUARD)
        | {"session_start_time": BEGAN, "daily_loss_usd": 0.1, "per_symbol_loss": {"BTC": 0.1}},
    }


@pytest.fixture
def live(database: Database) -> Iterator[Connection]:
    with database.connect("test", Role.LIVE, autocommit=True) as connection:
        yield connection


def count(connection: Connection, table: str = "session_snapshots") -> int:
    row = connection.execute(f"SELECT count(*) FROM live_data.{table}").fetchone()
    assert row is not None
    return int(row[0])


def test_loading_returns_the_saved_state(live: Connection) -> None:
    saved = state("full")
    StateStore(live).save(saved, SnapshotType.PERIODIC)
    assert StateStore(live).load_latest("full") == saved


def test_a_state_without_optional_sections_is_loaded_without_them(live: Connection) -> None:
    saved = state("bare", paper_campaign_id=None, config={}) | {
        "positions": {"active_orders": {}},
        "metrics": None,
        "risk_guard": None,
    }
    StateStore(live).save(saved, SnapshotType.INITIAL)
    assert StateStore(live).load_latest("bare") == saved


def test_a_time_of_another_zone_is_loaded_as_the_same_instant(live: Connection) -> None:
    there = BEGAN.astimezone(timezone(timedelta(hours=-5)))
    StateStore(live).save(state("zone", session_start_time=there), SnapshotType.INITIAL)
    loaded = StateStore(live).load_latest("zone")["session"]["session_start_time"]
    assert loaded == there
    assert loaded.utcoffset() == timedelta(0)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), JSON))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_json_values_are_loaded_with_the_same_types(live: Connection, config: dict[str, Any]) -> None:
    StateStore(live).save(state("any", config=config), SnapshotType.PERIODIC)
    loaded = StateStore(live).load_latest("any")["session"]["config"]
    assert loaded == config
    assert kinds(loaded) == kinds(config)


def kinds(value: object) -> object:
    if isinstance(value, dict):
        return {key: kinds(item) for key, item in value.items()}
    return [kinds(item) for item in value] if isinstance(value, list) else type(value).__name__


def test_ten_thousand_positions_are_loaded(live: Connection) -> None:
    saved = state("large")
    one = saved["positions"]["active_orders"]["BTC-1"]
    saved["positions"]["active_orders"] = {f"P{i}": one | {"trade": {"n": i}} for i in range(10_000)}
    StateStore(live).save(saved, SnapshotType.PERIODIC)
    assert StateStore(live).load_latest("large") == saved


def changed(change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    invalid = state("broken")
    change(invalid)
    return invalid


def put(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(invalid: dict[str, Any]) -> None:
        *parents, last = path
        for name in parents:
            invalid = invalid[name]
        invalid[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("metrics", "total_pnl_usd", value=math.nan), "metrics.total_pnl_usd: Input should be a finite number"),
        (put("metrics", "per_symbol_pnl", value={"BTC": [1.0, math.inf]}), r"metrics.per_symbol_pnl: BTC\[1\] is inf"),
        (put("session", "config", value={"a": {"b": -math.inf}}), "session.config: a.b is -inf"),
        (
            put("positions", "active_orders", "BTC-1", "trade", value={"x": math.nan}),
            "active_orders.BTC-1.trade: x is nan",
        ),
        (put("session", "config", value={1: "one"}), "session.config: key 1 of the value is not text"),
        (put("session", "config", value={"a": (1, 2)}), "session.config: a is a tuple, which JSON cannot represent"),
        (
            put("session", "config", value={"a": "\x00"}),
            "session.config: a holds a character that PostgreSQL cannot store",
        ),
        (put("session", "config", value={"a": "\ud800"}), "session.config: a holds a character"),
        (
            put("session", "session_start_time", value=datetime(2026, 1, 1)),  # noqa: DTZ001
            "session.session_start_time: Input should have timezone info",
        ),
        (put("session", "loop_count", value=True), "session.loop_count: Input should be a valid integer"),
        (put("session", "surplus", value=1), "session.surplus: Extra inputs are not permitted"),
        (put("positions", "active_orders", value=[]), "positions.active_orders: Input should be a valid dictionary"),
        (lambda invalid: invalid["metrics"].pop("total_pnl_usd"), "metrics.total_pnl_usd: Field required"),
        (lambda invalid: invalid.pop("risk_guard"), "risk_guard: Field required"),
    ],
)
def test_a_field_that_cannot_be_stored_is_named_and_nothing_is_saved(
    live: Connection, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    before = count(live)
    with pytest.raises(StateError, match=message):
        StateStore(live).save(changed(change), SnapshotType.PERIODIC)
    assert count(live) == before


def test_all_invalid_fields_are_named_at_once(live: Connection) -> None:
    invalid = changed(put("metrics", "total_pnl_usd", value=math.nan))
    invalid["risk_guard"]["daily_loss_usd"] = math.inf
    with pytest.raises(StateError, match="total_pnl_usd: .* finite number.*daily_loss_usd: .* finite number"):
        StateStore(live).save(invalid, SnapshotType.PERIODIC)


@pytest.mark.parametrize(
    "invalid", [{"mode": "dreaming"}, {"status": "tired"}, {"loop_count": -1}, {"session_id": ""}, {"session_id": None}]
)
def test_a_state_that_the_database_refuses_leaves_nothing(live: Connection, invalid: dict[str, Any]) -> None:
    before = {table: count(live, table) for table in TABLES}
    with pytest.raises(psycopg.errors.IntegrityError):
        StateStore(live).save(state("refused", **invalid), SnapshotType.PERIODIC)
    assert {table: count(live, table) for table in TABLES} == before


def test_an_unknown_snapshot_type_is_refused(live: Connection) -> None:
    with pytest.raises(ValueError, match="hourly"):
        StateStore(live).save(state(), "hourly")  # type: ignore[arg-type]


def test_one_transaction_may_save_two_snapshots(database: Database) -> None:
    with database.connect("test", Role.LIVE) as connection:
        store = StateStore(connection)
        store.save(state("twice", loop_count=1), SnapshotType.PERIODIC)
        store.save(state("twice", loop_count=2), SnapshotType.ON_TRADE)
        assert store.load_latest("twice")["session"]["loop_count"] == 2
    with database.connect("test", Role.READER) as connection:
        row = connection.execute(
            "SELECT count(DISTINCT created_at), count(*) FROM live_data.session_snapshots WHERE session_id = 'twice'"
        ).fetchone()
    assert row == (2, 2)


def test_a_rollback_leaves_no_snapshot(database: Database, live: Connection) -> None:
    before = count(live, "position_snapshots")
    with database.connect("test", Role.LIVE) as connection:
        StateStore(connection).save(state("undone"), SnapshotType.PERIODIC)
        connection.rollback()
    assert count(live, "position_snapshots") == before
    with pytest.raises(NoDataError, match="session 'undone' has no snapshot"):
        StateStore(live).load_latest("undone")


def test_the_last_saved_snapshot_is_the_newest_even_after_a_clock_change(database: Database, live: Connection) -> None:
    StateStore(live).save(state("clock", loop_count=1), SnapshotType.PERIODIC)
    with database.connect("test", None) as connection:
        connection.execute(
            "UPDATE live_data.session_snapshots SET created_at = now() + interval '1 hour' WHERE session_id = 'clock'"
        )
    StateStore(live).save(state("clock", loop_count=2), SnapshotType.PERIODIC)
    assert StateStore(live).load_latest("clock")["session"]["loop_count"] == 2
    row = live.execute("SELECT loop_count FROM live_data.v_latest_snapshots WHERE session_id = 'clock'").fetchone()
    assert row == (2,)


def test_readers_see_complete_snapshots_only(database: Database) -> None:
    stop = threading.Event()

    def save() -> None:
        with database.connect("test", Role.LIVE, autocommit=True) as connection:
            while not stop.is_set():
                StateStore(connection).save(state("busy"), SnapshotType.PERIODIC)

    writer = threading.Thread(target=save)
    writer.start()
    try:
        with database.connect("test", Role.READER, autocommit=True) as connection:
            for _ in range(200):
                rows = connection.execute(
                    "SELECT (SELECT count(*) FROM live_data.position_snapshots AS p WHERE p.snapshot_id = s.snapshot_id), "
                    "(SELECT count(*) FROM live_data.metrics_snapshots AS m WHERE m.snapshot_id = s.snapshot_id) "
                    "FROM live_data.session_snapshots AS s WHERE session_id = 'busy' ORDER BY snapshot_id DESC LIMIT 3"
                ).fetchall()
                assert set(rows) <= {(2, 1)}
    finally:
        stop.set()
        writer.join()


TABLES = ("session_snapshots", "position_snapshots", "metrics_snapshots", "risk_guard_snapshots")


def test_deleting_a_snapshot_deletes_its_parts(database: Database) -> None:
    with database.connect("test", None) as connection:
        number = StateStore(connection).save(state("gone"), SnapshotType.PERIODIC)
        connection.execute("DELETE FROM live_data.session_snapshots WHERE snapshot_id = %s", [number])
        for table in TABLES:
            row = connection.execute(
                f"SELECT count(*) FROM live_data.{table} WHERE snapshot_id = %s", [number]
            ).fetchone()
            assert row == (0,)


def test_table_statistics_match_the_servers(live: Connection) -> None:
    StateStore(live).save(state("counted"), SnapshotType.PERIODIC)
    stats = {row[0]: row[1:] for row in live.execute("SELECT * FROM live_data.snapshot_table_stats()").fetchall()}
    assert set(stats) == set(TABLES)
    for table, (rows, heap, index, toast, total) in stats.items():
        assert rows == count(live, table) > 0
        assert heap + index + toast == total

    def sizes_agree() -> bool:  # a vacuum in between adds its maps
        row = live.execute(
            "SELECT bool_and(total_bytes = pg_total_relation_size(format('live_data.%I', table_name)::regclass)) "
            "FROM live_data.snapshot_table_stats()"
        ).fetchone()
        return row == (True,)

    wait_until(sizes_agree, "the sizes to agree with the server's")


def test_the_views_show_sessions_and_their_history(live: Connection) -> None:
    store = StateStore(live)
    store.save(state("views", loop_count=1), SnapshotType.INITIAL)
    store.save(
        state("views", loop_count=2, status="stopped") | {"positions": {"active_orders": {}}}, SnapshotType.ON_STOP
    )
    details = live.execute(
        "SELECT status, loop_count, total_pnl_usd, daily_loss_usd, active_positions FROM live_data.v_latest_snapshot_details WHERE session_id = 'views'"
    ).fetchall()
    assert details == [("stopped", 2, -0.1, 0.1, 0)]
    history = live.execute(
        "SELECT snapshot_type, status, active_positions FROM live_data.v_session_history WHERE session_id = 'views' ORDER BY snapshot_id"
    ).fetchall()
    assert history == [("initial", "running", 2), ("on_stop", "stopped", 0)]
    names = {row[0] for row in live.execute("SELECT index_name FROM live_data.v_index_usage_stats").fetchall()}
    assert {"session_snapshots_by_session", "position_snapshots_by_trade", "metrics_snapshots_pkey"} <= names


def test_each_index_serves_its_query(database: Database) -> None:
    with database.connect("test", None) as connection:
        connection.execute(
            "INSERT INTO live_data.session_snapshots (session_id, session_start_time, mode, config, loop_count, status, snapshot_type) "
            "SELECT 'plan-' || n % 100, now(), 'paper', '{}', n, 'running', 'periodic' FROM generate_series(1, 20000) AS n"
        )
        connection.execute(
            "INSERT INTO live_data.position_snapshots (snapshot_id, position_key, trade_data) "
            "SELECT snapshot_id, 'p', jsonb_build_object('ticker', 'T' || snapshot_id) FROM live_data.session_snapshots WHERE session_id LIKE 'plan-%'"
        )
        for table in TABLES:
            connection.execute(f"ANALYZE live_data.{table}")
        latest = state_store.SQL["latest_snapshot"].replace("%s", "'plan-7'")
        by_session = explained(connection, latest)
        by_trade = explained(
            connection, 'SELECT * FROM live_data.position_snapshots WHERE trade_data @> \'{"ticker": "T77"}\''
        )
        by_key = explained(connection, state_store.SQL["snapshot_positions"].replace("%s", "77"))
    assert "session_snapshots_by_session" in by_session
    assert "Sort" not in by_session
    assert "position_snapshots_by_trade" in by_trade
    assert "position_snapshots_pkey" in by_key


def explained(connection: Connection, statement: str) -> str:
    return "\n".join(row[0] for row in connection.execute(f"EXPLAIN {statement}").fetchall())


def test_the_live_role_cannot_change_or_delete_snapshots(live: Connection) -> None:
    for statement in (
        "DELETE FROM live_data.session_snapshots",
        "UPDATE live_data.session_snapshots SET status = 'running'",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            live.execute(statement)
