"""Markets beside a live session: strike tables, stored quotes, and an exchange that fails while prices go on."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from live_markets import (
    PRICE,
    exchange_of,
    prices_each_half_second,
    read_table,
    replacements,
    running_markets,
    session_with_markets,
    wait_for_table,
)
from live_sessions import insert_half_an_hour_of_ticks, insert_tick, payload_has, running_in_thread
from simulated_exchange import answer, stall
from waiting import wait_until

from pipelines.domain.markets.basis import GRID_BPS
from pipelines.live.probability_writer import probabilities_path, strike_table_path
from pipelines.live.strike_tables import StrikeTable
from pipelines.storage.postgres.connection import Database, Role

Build = Callable[..., int]
QUOTED = ("yes_bid", "yes_ask", "no_bid", "no_ask", "edge_yes", "edge_no")


def count(database: Database, table: str) -> int:
    with database.connect("test", Role.READER) as connection:
        row = connection.execute(f"SELECT count(*) FROM market_data.{table}").fetchone()
    assert row is not None
    return int(row[0])


def test_quotes_become_a_strike_table_beside_the_probabilities_and_are_stored(
    database: Database, build: Build, tmp_path: Path
) -> None:
    build("MKT", seed=1)
    first: list[StrikeTable] = []
    with running_markets(database, tmp_path, "MKT", on_first_table=first.append):
        table = wait_for_table(tmp_path, "MKT", "open")
        assert (table["broker"], table["simulated"], table["series_ticker"]) == ("simulated", True, "KXMKTD")
        assert (table["strike_tier"], len(table["strikes"])) == (0.25, 21)
        near = table["strikes"][0]
        assert near["probability"] is not None
        assert near["ticker"].startswith(table["event_ticker"])
        assert {row["strike_type"] for row in table["strikes"]} == {"greater"}
        assert table["pool"] == {"served": "mid", "reason": "the series has not been scored yet"}
        wait_until(payload_has(tmp_path, "MKT", status="ok"), "fresh probabilities")
        wait_until(lambda: count(database, "market_quote") > 21, "stored quotes")
        assert replacements(strike_table_path(tmp_path, "MKT"), 3.0) >= 3
    assert [table.path for table in first] == [strike_table_path(tmp_path, "MKT")]
    ended = read_table(tmp_path, "MKT")
    assert ended is not None
    assert ended["market_status"].startswith("unavailable: the live session ended")
    assert {row[name] for row in ended["strikes"] for name in QUOTED} == {None}
    with database.connect("test", Role.READER) as connection:
        stored = connection.execute(
            "SELECT exchange, symbol, settlement, count(*) FROM market_data.market "
            "WHERE series_ticker = 'KXMKTD' AND event_ticker = %s GROUP BY 1, 2, 3",
            [table["event_ticker"]],
        ).fetchall()
    [(exchange, symbol, settlement, markets)] = stored
    assert (exchange, symbol, settlement) == ("simulated", "MKT", "mean_60s")
    assert markets >= 21


def test_an_exchange_that_dies_takes_the_quotes_away_and_nothing_else(
    database: Database, build: Build, tmp_path: Path
) -> None:
    build("DIES", seed=1)
    with running_markets(database, tmp_path, "DIES") as exchange:
        exchange.stop()
        table = wait_for_table(tmp_path, "DIES", "unavailable: ")
        assert {row[name] for row in table["strikes"] for name in QUOTED} == {None}
        assert table["strikes"][0]["probability"] is not None
        assert payload_has(tmp_path, "DIES", status="ok")()
        exchange.start()  # at another port
        wait_for_table(tmp_path, "DIES", "open")


@pytest.mark.parametrize(
    "fault",
    [stall, answer(429, "{}"), answer(500, "{}"), answer(200, "<html>not JSON</html>"), answer(200, '{"markets": 1}')],
    ids=["stalls", "limits the rate", "fails", "answers garbage", "answers another shape"],
)
def test_an_exchange_with_a_fault_never_delays_a_probability(
    database: Database, build: Build, tmp_path: Path, fault: object
) -> None:
    build("FAULT", seed=1)
    with running_markets(database, tmp_path, "FAULT") as exchange:
        exchange.faults.fail("/markets", *[fault] * 100)  # type: ignore[list-item]
        table = wait_for_table(tmp_path, "FAULT", "unavailable: ")
        assert table["strikes"][0]["yes_ask"] is None
        # Two prices a second, and one second between refreshes at most.
        assert replacements(probabilities_path(tmp_path, "FAULT"), 3.0) >= 4
        assert payload_has(tmp_path, "FAULT", status="ok")()
        exchange.faults.responses.clear()
        wait_for_table(tmp_path, "FAULT", "open")


def test_a_session_without_an_exchange_says_so_and_finds_it_later(
    database: Database, build: Build, tmp_path: Path
) -> None:
    build("LATE", seed=1)
    with exchange_of("LATE") as exchange, prices_each_half_second(database, "LATE"):
        exchange.stop()
        with running_in_thread(session_with_markets(database, tmp_path, exchange)) as raised:
            table = wait_for_table(tmp_path, "LATE", "unavailable: the simulated exchange is not up")
            assert len(table["strikes"]) == 21
            exchange.start()
            wait_for_table(tmp_path, "LATE", "open")
            assert not raised


def test_the_basis_by_quotes_continues_after_a_restart(database: Database, build: Build, tmp_path: Path) -> None:
    build("BASIS", seed=1)
    # Steep enough to outweigh the quotes of the last minute before the close, which show their own basis best.
    sums = (2.0 + 100.0 * (GRID_BPS - 3.0) ** 2).tolist()
    counted_until = datetime.now(UTC) - timedelta(minutes=5)
    with database.connect("test", None, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO market_data.quoted_basis (exchange, series_ticker, counted_until, sums, quotes) "
            "VALUES ('simulated', 'KXBASISD', %s, %s, 500)",
            [counted_until, sums],
        )
    with running_markets(database, tmp_path, "BASIS"):
        wait_until(lambda: (read_table(tmp_path, "BASIS") or {}).get("basis_bps") is not None, "the basis")
        table = read_table(tmp_path, "BASIS")
        assert table is not None
        assert table["basis"]["source"] == "quotes"
        assert table["basis_bps"] == pytest.approx(3.0, abs=0.5), "a minute's quotes may have come to it"
        payload = orjson.loads(probabilities_path(tmp_path, "BASIS").read_bytes())
        assert payload["settlement"] == "last_price"


def test_refreshing_once_writes_the_table_too(database: Database, build: Build, tmp_path: Path) -> None:
    build("ONCE", seed=1)
    insert_half_an_hour_of_ticks(database, "ONCE", PRICE)
    insert_tick(database, "ONCE", PRICE)
    with exchange_of("ONCE") as exchange:
        session_with_markets(database, tmp_path, exchange).run(once=True)
    table = read_table(tmp_path, "ONCE")
    assert table is not None
    assert table["event_ticker"].startswith("KXONCED-")


def test_tables_of_series_that_are_no_longer_configured_are_removed(
    database: Database, build: Build, tmp_path: Path
) -> None:
    build("GONE", seed=1)
    other = strike_table_path(tmp_path, "OTHER")
    other.write_text("{}")
    with running_markets(database, tmp_path, "GONE"):
        wait_until(lambda: not other.exists(), "the removal of the other table")
        assert strike_table_path(tmp_path, "GONE").exists()
