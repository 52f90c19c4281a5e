"""The live session with the standardised model: inputs, stored answers, changes of the champion."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from live_sessions import (
    TEN_YEARS_SECONDS,
    insert_tick,
    insert_ticks_until,
    new_session,
    payload_has,
    read_payload,
    running_in_thread,
    session,
)
from synthetic_prices import ingest_bars, publish_all, synthetic_bars, update_models
from waiting import wait_until

from pipelines.domain.models.base import MarketStates
from pipelines.domain.prices.ticks import minutes_of
from pipelines.domain.prices.volatility import LiveVolatility
from pipelines.live import refresh_loop
from pipelines.live.champions import Champion, load_new_champions
from pipelines.storage.live.ticks import minute_prices
from pipelines.storage.models.champions import change_champion
from pipelines.storage.models.generations import active_generation, read_version
from pipelines.storage.models.volatility import latest_volatility_state
from pipelines.storage.postgres.connection import Database, Role


@pytest.fixture(scope="module")
def symbol(database: Database, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A symbol with bars until ten minutes ago, and ticks of the last ten minutes."""
    end = int(datetime.now(UTC).timestamp()) // 60 - 10
    bars = synthetic_bars(20, end_minute=end)
    ingest_bars(database, "LIVE", bars, tmp_path_factory.mktemp("live"))
    publish_all(database, "LIVE", update_models(database, "LIVE"))  # which takes as long as it takes
    price = float(bars.close[-1])
    began, now = datetime.fromtimestamp(end * 60, UTC), datetime.now(UTC)
    with database.connect("test", Role.LIVE) as connection:
        for seconds in range(20, 600, 20):
            at = now - timedelta(seconds=600 - seconds)
            if at < began:
                continue
            connection.execute("SELECT live_data.create_day_partition('price_log', %s)", [at.date()])
            wobble = price * (1 + 4e-4 * float(np.sin(seconds)))
            connection.execute(
                "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) VALUES ('LIVE', %s, %s, 'test')",
                [at, round(wobble, 2)],
            )
    return "LIVE"


def count_answers(database: Database) -> int:
    with database.connect("test", Role.READER) as connection:
        row = connection.execute("SELECT count(*) FROM live_data.answer WHERE symbol = 'LIVE'").fetchone()
    assert row is not None
    return int(row[0])


def test_the_file_shows_the_models_inputs_and_its_answer_is_stored(
    database: Database, symbol: str, tmp_path: Path
) -> None:
    before = count_answers(database)
    with session(database, tmp_path, symbol):
        payload = insert_ticks_until(
            database,
            tmp_path,
            symbol,
            100.0,
            "a file of the champion",
            status="degraded",
            model="standardised",
            group=0,
        )  # the first file may be written before volatility is known
        wait_until(lambda: count_answers(database) > before, "an answer to be stored")
    assert payload is not None
    assert payload["fingerprint_table"] == "standardised_lookup_cell"
    assert payload["sigma"] > 0
    assert payload["reasons"] == ["momentum is not known (no price 15, 30 minutes ago): all momenta together answer"], (
        "ten minutes of ticks"
    )
    assert payload["group"] == 0
    assert all(0.01 <= row["prob_beyond"] <= 99.99 for row in payload["probabilities"])
    assert all(each["prob_beyond_low"] < each["prob_beyond_high"] for each in payload["intervals"])
    with database.connect("test", Role.READER) as connection:
        row = connection.execute(
            "SELECT model, generation, cardinality(strikes), sigma_pct, market_close - answered_at < interval '1 hour', "
            "tableoid::regclass::text, answered_at, settlement, source FROM live_data.answer WHERE symbol = 'LIVE' ORDER BY answered_at DESC LIMIT 1"
        ).fetchone()
    assert row is not None
    assert row[:3] == ("standardised", payload["model_version"], 21)
    assert row[3] > 0
    assert row[4]
    assert row[7] in {"last_price", "mean_60s"}
    assert row[8] == "external"
    assert row[5] == f"live_data.answer_{row[6]:%Y%m%d}"


def test_volatility_continues_from_the_newest_bar_through_later_ticks(
    database: Database, symbol: str, tmp_path: Path
) -> None:
    with session(database, tmp_path, symbol):
        insert_tick(database, symbol, 100.01)
        wait_until(payload_has(tmp_path, symbol, current_price=100.01, model="standardised"), "a file of the champion")
        payload: dict[str, Any] | None = read_payload(tmp_path, symbol)
    assert payload is not None
    with database.connect("test", Role.READER) as connection:
        version = read_version(connection, active_generation(connection, symbol, "standardised"))
        state = latest_volatility_state(connection, symbol)
        rule = version.rule
        assert rule.volatility is not None
        expected = LiveVolatility(state, rule.volatility)
        since = datetime.fromtimestamp((state.minute + 1) * 60, UTC)
        minutes = minute_prices(connection, symbol, since, replayed=False)
    written = datetime.fromisoformat(payload["timestamp"])
    for at, price, prices in minutes:
        if at <= written:
            expected.add(minutes_of(at), price, prices)
    assert len(minutes) >= 9, "one price per minute since the newest bar"
    states = MarketStates(
        np.array([minutes_of(written)]), np.full(1, np.nan), np.array(expected.current_state().variances)[:, None]
    )
    sigma = rule.sigma(states, payload["ttc_seconds"] / 60)
    assert sigma is not None
    assert payload["sigma"] == pytest.approx(100 * float(sigma[0]), rel=1e-4)
    assert payload["sigma"] != pytest.approx(
        100
        * float(
            rule.sigma(
                MarketStates(states.instants, states.score, np.array(state.variances)[:, None]),
                payload["ttc_seconds"] / 60,
            )[0]
        ),
        rel=1e-2,
    )


def test_a_session_that_starts_later_has_the_state_of_one_that_received_every_tick(
    database: Database, tmp_path: Path
) -> None:
    """Also with a wrong tick, which neither of them uses."""
    end = int(datetime.now(UTC).timestamp()) // 60 - 5
    bars = synthetic_bars(20, end_minute=end)
    ingest_bars(database, "RANGED", bars, tmp_path)
    publish_all(database, "RANGED", update_models(database, "RANGED"))
    began, price = datetime.fromtimestamp(end * 60, UTC), float(bars.close[-1])
    ticks = [(began + timedelta(seconds=2 * n), round(price * (1 + 1e-3 * float(np.sin(n))), 2)) for n in range(1, 136)]
    with database.connect("test", Role.LIVE) as connection:
        connection.execute("SELECT live_data.create_day_partition('price_log', %s)", [began.date()])
        connection.execute("SELECT live_data.create_day_partition('price_log', %s)", [ticks[-1][0].date()])
        for at, usd in [*ticks, (began + timedelta(seconds=71), round(10 * price, 2))]:
            connection.execute(
                "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) VALUES ('RANGED', %s, %s, 'test')",
                [at, usd],
            )
    champion = load_new_champions(database, {"RANGED": None}, replayed=False)["RANGED"]
    assert isinstance(champion, Champion)
    assert champion.volatility is not None
    assert champion.rule.volatility is not None
    with database.connect("test", Role.READER) as connection:
        start = latest_volatility_state(connection, "RANGED")
    running, closes = (LiveVolatility(start, champion.rule.volatility, with_ranges=each) for each in (True, False))
    for each in (running, closes):
        each.add_all((minutes_of(at), usd) for at, usd in ticks)
    found = champion.volatility.current_state()
    assert found == running.current_state()
    assert found.variances[4] != closes.current_state().variances[4], "its ticks have a range"


def test_a_session_uses_a_new_champion_when_notified(
    database: Database, symbol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By notification: polling is disabled."""
    monkeypatch.setattr(refresh_loop, "CHAMPION_POLL_SECONDS", TEN_YEARS_SECONDS)
    with running_in_thread(new_session(database, tmp_path, symbol)):
        insert_tick(database, symbol, 100.0)
        wait_until(payload_has(tmp_path, symbol, model="standardised"), "a file of the champion")
        with database.connect("test", Role.PIPELINE) as connection:
            change_champion(connection, symbol, "normal", "standardised", "a test", {}, None)
        insert_tick(database, symbol, 100.1)
        wait_until(payload_has(tmp_path, symbol, model="normal", group=0), "a file of the new champion")
        with database.connect("test", Role.PIPELINE) as connection:
            change_champion(connection, symbol, "standardised", "normal", "back", {}, None)
        insert_tick(database, symbol, 100.2)
        wait_until(payload_has(tmp_path, symbol, model="standardised"), "a file of the old champion again")


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        (Role.LIVE, "UPDATE live_data.answer SET closing_price = 1"),
        (Role.LIVE, "INSERT INTO analytics.champion_change (symbol, champion, reason) VALUES ('LIVE', 'normal', 'x')"),
        (Role.LIVE, "CREATE TABLE live_data.other (x integer)"),
        (Role.PIPELINE, "UPDATE live_data.answer SET prob_beyond = '{}'"),
        (Role.PIPELINE, "DELETE FROM analytics.champion_change"),
        (Role.PIPELINE, "UPDATE analytics.score SET skill = 1"),
        (Role.READER, "SELECT live_data.create_day_partition('answer', current_date)"),
        (Role.READER, "INSERT INTO analytics.score_run (symbol) VALUES ('LIVE')"),
    ],
)
def test_privileges_that_a_role_lacks(database: Database, symbol: str, role: Role, statement: str) -> None:
    with (
        psycopg.connect(database.conninfo("test", role)) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


def test_a_partition_is_created_once_and_only_for_a_plausible_day(database: Database) -> None:
    day = datetime.now(UTC).date() + timedelta(days=3)
    with database.connect("test", Role.LIVE) as connection:
        for _ in range(2):
            connection.execute("SELECT live_data.create_day_partition('answer', %s)", [day])
    with (
        pytest.raises(psycopg.errors.InvalidParameterValue, match="is not within ten years"),
        psycopg.connect(database.conninfo("test", Role.LIVE)) as connection,
    ):
        connection.execute("SELECT live_data.create_day_partition('answer', '1970-01-01')")
