"""Volatility and counts in the database: updates, corrections, borrowing, and equality of SQL and Python."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg
import pytest
from synthetic_prices import END_MINUTE, ingest_bars, publish_all, synthetic_bars, update_models

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.models.base import MarketStates
from pipelines.domain.models.standardised import StandardisedRule
from pipelines.domain.models.standardised_fingerprint import OLDEST_WEEKS, StandardisedParameters, count_weeks
from pipelines.domain.prices.bars import MINUTES_PER_WEEK, instant_of_minute
from pipelines.domain.prices.synthetic_bars import SimulationParameters, SyntheticBars
from pipelines.domain.prices.volatility import STATE_HALF_LIVES, LiveVolatility
from pipelines.errors import BuildError, NoDataError, SettingsError
from pipelines.storage.models.champions import change_champion, read_champion
from pipelines.storage.models.ladders import current_question, ladder_payload
from pipelines.storage.models.refit import update_counts, update_volatility
from pipelines.storage.models.volatility import (
    latest_volatility_state,
    read_counts,
    read_parameters,
    read_track,
)
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.prices.history import read_market_history

DAYS = 75
DAY = 1440


@pytest.fixture(scope="module")
def bars() -> SyntheticBars:
    return synthetic_bars(DAYS)


@pytest.fixture(scope="module")
def published(database: Database, bars: SyntheticBars, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A symbol with 75 days of bars and every model published."""
    ingest_bars(database, "FULL", bars, tmp_path_factory.mktemp("full"))
    update = update_models(database, "FULL")
    publish_all(database, "FULL", update)
    return "FULL"


@pytest.fixture(scope="module")
def reader(database: Database) -> Iterator[Connection]:
    with database.connect("test", Role.READER, autocommit=True) as connection:
        yield connection


def assert_equals_full_computation(connection: Connection, symbol: str) -> None:
    """Stored states and counts equal, to the bit, one computation over all bars by the stored parameters."""
    stored = read_parameters(connection, symbol)
    assert stored is not None
    history = read_market_history(connection, symbol, ModelConfig())
    assert history.log_extremes is not None
    track = history.track(stored.parameters.volatility)
    found = read_track(connection, symbol, history.first_minute, history.end)
    np.testing.assert_array_equal(found.mean_abs_return, track.mean_abs_return)
    np.testing.assert_array_equal(found.variances, track.variances)
    week = history.end // MINUTES_PER_WEEK
    weeks = count_weeks(history, stored.parameters, track, 0)
    counted = read_counts(connection, symbol, week - OLDEST_WEEKS + 1, week)
    assert set(counted) == set(weeks)
    for each, counts in weeks.items():
        np.testing.assert_array_equal(counted[each], counts)


def test_daily_updates_equal_one_computation_over_all_bars(
    database: Database, bars: SyntheticBars, reader: Connection, tmp_path: Path
) -> None:
    n = len(bars.minutes)
    ingest_bars(database, "DAILY", bars, tmp_path, 0, n - 10 * DAY - 77)
    update_models(database, "DAILY")
    before = read_parameters(reader, "DAILY")
    for first in (n - 10 * DAY - 77, n - 9 * DAY, n - 8 * DAY, n - DAY, n - 31):
        last = {n - 10 * DAY - 77: n - 9 * DAY, n - 9 * DAY: n - 8 * DAY, n - 8 * DAY: n - DAY, n - DAY: n - 31}.get(
            first
        )
        ingest_bars(database, "DAILY", bars, tmp_path, first, last)
        update = update_models(database, "DAILY")
        assert update.rows_counted < 16 * DAY, "only new weeks are counted"
    after = read_parameters(reader, "DAILY")
    assert before is not None
    assert after is not None
    assert after.parameters_id == before.parameters_id
    assert_equals_full_computation(reader, "DAILY")


def test_a_corrected_bar_updates_everything_that_depends_on_it(
    database: Database, bars: SyntheticBars, reader: Connection, tmp_path: Path
) -> None:
    ingest_bars(database, "CORRECTED", bars, tmp_path)
    update_models(database, "CORRECTED")
    at = len(bars.minutes) - 20 * DAY
    corrected = replace(bars, close=bars.close.copy(), high=bars.high.copy())
    corrected.close[at] = round(corrected.close[at] * 1.004, 2)
    corrected.high[at] = max(corrected.high[at], corrected.close[at])
    ingest_bars(database, "CORRECTED", corrected, tmp_path, at, at + 1)
    update = update_models(database, "CORRECTED")
    assert update.rows_counted > 15 * DAY
    assert_equals_full_computation(reader, "CORRECTED")


def test_a_corrected_high_updates_everything_that_depends_on_it(
    database: Database, bars: SyntheticBars, reader: Connection, tmp_path: Path
) -> None:
    ingest_bars(database, "HIGHER", bars, tmp_path)
    update_models(database, "HIGHER")
    at = len(bars.minutes) - 9 * DAY
    before = read_track(reader, "HIGHER", int(bars.minutes[at]), int(bars.minutes[at]) + 1)
    corrected = replace(bars, high=bars.high.copy())
    corrected.high[at] = round(corrected.high[at] * 1.004, 2)
    ingest_bars(database, "HIGHER", corrected, tmp_path, at, at + 1)
    update_models(database, "HIGHER")
    after = read_track(reader, "HIGHER", int(bars.minutes[at]), int(bars.minutes[at]) + 1)
    np.testing.assert_array_equal(after.variances[:4], before.variances[:4])
    assert (after.variances[4:] > before.variances[4:]).all()
    assert_equals_full_computation(reader, "HIGHER")


def test_bars_ingested_between_volatility_and_counts_are_counted_by_the_next_update(
    database: Database, bars: SyntheticBars, reader: Connection, tmp_path: Path
) -> None:
    ingest_bars(database, "BETWEEN", bars, tmp_path)
    with database.connect("test", Role.PIPELINE) as connection:
        update_volatility(connection, "BETWEEN", [])
    at = len(bars.minutes) - 9 * DAY
    corrected = replace(bars, close=bars.close.copy(), low=bars.low.copy())
    corrected.close[at] = round(corrected.close[at] * 0.997, 2)
    corrected.low[at] = min(corrected.low[at], corrected.close[at])
    ingest_bars(database, "BETWEEN", corrected, tmp_path, at, at + 1)
    with database.connect("test", Role.PIPELINE) as connection:
        update_counts(connection, "BETWEEN")
    update_models(database, "BETWEEN")
    assert_equals_full_computation(reader, "BETWEEN")


def test_an_update_without_new_bars_computes_nothing(database: Database, bars: SyntheticBars, tmp_path: Path) -> None:
    ingest_bars(database, "SAME", bars, tmp_path)
    update_models(database, "SAME")
    with database.connect("test", Role.PIPELINE) as connection:
        assert update_volatility(connection, "SAME", []).days_written == 0
    with database.connect("test", Role.PIPELINE) as connection:
        assert update_counts(connection, "SAME").rows_counted == 0


def test_an_interrupted_update_changes_nothing_and_the_next_one_catches_up(
    database: Database, bars: SyntheticBars, reader: Connection, tmp_path: Path
) -> None:
    n = len(bars.minutes)
    ingest_bars(database, "INTERRUPT", bars, tmp_path, 0, n - DAY)
    update_models(database, "INTERRUPT")
    before = latest_volatility_state(reader, "INTERRUPT")
    ingest_bars(database, "INTERRUPT", bars, tmp_path, n - DAY)
    connection = psycopg.connect(database.conninfo("test", Role.PIPELINE))
    assert update_volatility(connection, "INTERRUPT", []).days_written > 0
    connection.close()  # as after a process that exits before its commit
    assert latest_volatility_state(reader, "INTERRUPT") == before
    update_models(database, "INTERRUPT")
    assert latest_volatility_state(reader, "INTERRUPT").minute == END_MINUTE - 1
    assert_equals_full_computation(reader, "INTERRUPT")


def test_a_new_symbol_borrows_a_distribution_until_it_has_60_days(
    database: Database, published: str, reader: Connection, tmp_path: Path
) -> None:
    wild = synthetic_bars(62, seed=5, parameters=SimulationParameters(7.0, sigma_per_minute=2.4e-3))
    ingest_bars(database, "YOUNG", wild, tmp_path, 0, 3 * DAY)
    update = update_models(database, "YOUNG", published)
    assert (update.borrowed_from, update.rows_counted) == (published, 0)
    publish_all(database, "YOUNG", update)
    row = reader.execute(
        "SELECT borrowed_from FROM analytics.model_version JOIN analytics.active_generation USING (generation) "
        "WHERE model_version.symbol = 'YOUNG' AND model_version.model = 'standardised'"
    ).fetchone()
    assert row == (published,)
    theirs, ours = (float(sigma(reader, symbol)) for symbol in (published, "YOUNG"))
    assert ours > 1.5 * theirs, "its volatility is its own"
    ingest_bars(database, "YOUNG", wild, tmp_path, 3 * DAY)
    update = update_models(database, "YOUNG", published)
    assert update.borrowed_from is None
    assert update.rows_counted > 50 * DAY


def sigma(connection: Connection, symbol: str) -> float:
    row = connection.execute("SELECT (analytics.sigma_pct(%s, 3600)).sigma_pct", [symbol]).fetchone()
    assert row is not None
    return float(row[0])


def test_too_little_history_raises_with_the_days_required(database: Database, tmp_path: Path) -> None:
    ingest_bars(database, "SHORT", synthetic_bars(3), tmp_path)
    expected = (
        "SHORT: 3.0 days of bars are too few for the standardised model: it needs 7, or another symbol with 60 days"
    )
    with pytest.raises(NoDataError, match=expected), database.connect("test", Role.PIPELINE) as connection:
        update_volatility(connection, "SHORT", [])


def test_a_price_that_never_moves_raises(database: Database, tmp_path: Path) -> None:
    frozen = synthetic_bars(10)
    for column in (frozen.open, frozen.high, frozen.low, frozen.close):
        column[:] = 1.0
    ingest_bars(database, "FROZEN", frozen, tmp_path)
    with (
        pytest.raises(BuildError, match="FROZEN: the price never moves"),
        database.connect("test", Role.PIPELINE) as connection,
    ):
        update_volatility(connection, "FROZEN", [])


#: New York's clocks are set forward and back in these hours.
CLOCK_CHANGES = [
    int(datetime(2025, month, day, hour, tzinfo=UTC).timestamp()) // 60 for month, day, hour in ((3, 9, 7), (11, 2, 6))
]


@pytest.mark.parametrize("earlier_version", [False, True])
def test_sql_and_python_forecast_the_same_volatility(
    published: str, reader: Connection, *, earlier_version: bool
) -> None:
    rng = np.random.default_rng(7)
    stored = json.loads(stored_json(reader, published))
    if earlier_version:
        stored = {name: value for name, value in stored.items() if name not in {"minute_factors", "time_zone"}}
        stored["season"] = np.exp(rng.normal(0, 1, 192)).tolist()
        stored["coefficients"] = without_ranges(stored["coefficients"])
    volatility = StandardisedParameters.from_json(stored).volatility
    instants = [rng.uniform(END_MINUTE - 20_000, END_MINUTE) for _ in range(60)]
    instants += [float(round(instant)) for instant in instants]
    instants += [change + ahead for change in CLOCK_CHANGES for ahead in (-90.5, -60, -30, -1, -0.01, 0, 0.4, 20)]
    for instant in instants:
        variances = 10.0 ** rng.uniform(-9, -5, len(STATE_HALF_LIVES))
        ttc = float(rng.choice([1 / 60, 0.5, 1, 1.5, 2, 7.3, 15, 44.9, 60]))
        expected = volatility.sigma(volatility.log_states(variances[:, None]), np.array([instant]), ttc)[0]
        row = reader.execute(
            "SELECT analytics.forecast_sigma(%s::jsonb, %s, to_timestamp(%s::double precision), %s)",
            [json.dumps(stored), variances.tolist(), instant * 60, ttc],
        ).fetchone()
        assert row is not None
        # Instants within a minute are rounded, to the microsecond in SQL.
        assert row[0] == pytest.approx(expected, rel=1e-9 if instant == int(instant) and ttc >= 0.5 else 1e-6)


@pytest.mark.parametrize("variances", [[1e-7] * 4, [1e-7] * 7 + [None]])
def test_sql_forecasts_nothing_without_the_states_that_the_parameters_use(
    published: str, reader: Connection, variances: list[float | None]
) -> None:
    statement = "SELECT analytics.forecast_sigma(%s::jsonb, %s::double precision[], now(), 15)"
    stored = json.loads(stored_json(reader, published))
    assert reader.execute(statement, [json.dumps(stored), variances]).fetchone() == (None,)
    stored["coefficients"] = without_ranges(stored["coefficients"])
    row = reader.execute(statement, [json.dumps(stored), variances]).fetchone()
    assert row is not None
    assert row[0] > 0


def without_ranges(coefficients: list[list[float]]) -> list[list[float]]:
    """Coefficients as in versions before the ranges: of four returns, and the constant."""
    return [[*row[:4], row[-1]] for row in coefficients]


def test_a_fit_of_an_earlier_version_answers_until_the_next_update_replaces_it(
    database: Database, bars: SyntheticBars, reader: Connection, tmp_path: Path
) -> None:
    ingest_bars(database, "EARLIER", bars, tmp_path, 0, len(bars.minutes) - DAY)
    update_models(database, "EARLIER")
    stored = json.loads(stored_json(reader, "EARLIER"))
    stored["season"] = np.linspace(0.5, 1.5, 192).tolist()
    del stored["minute_factors"], stored["time_zone"]
    store_parameters(database, "EARLIER", stored)
    found = read_parameters(reader, "EARLIER")
    assert found is not None
    assert found.parameters.volatility.season.time_zone == "UTC"
    ingest_bars(database, "EARLIER", bars, tmp_path, len(bars.minutes) - DAY)
    with database.connect("test", Role.PIPELINE) as connection:
        update = update_volatility(connection, "EARLIER", [])
        update_counts(connection, "EARLIER")
    assert update.fit == "the last fit is by an earlier method"
    assert update.parameters.volatility.season.time_zone == "America/New_York"
    assert_equals_full_computation(reader, "EARLIER")


def test_a_fit_without_ranges_answers_until_the_next_update_replaces_it(
    database: Database, bars: SyntheticBars, reader: Connection, tmp_path: Path
) -> None:
    ingest_bars(database, "UNRANGED", bars, tmp_path, 0, len(bars.minutes) - DAY)
    publish_all(database, "UNRANGED", update_models(database, "UNRANGED"))
    stored = json.loads(stored_json(reader, "UNRANGED"))
    stored["coefficients"] = without_ranges(stored["coefficients"])
    store_parameters(database, "UNRANGED", stored)
    with database.connect("test", None) as connection:
        connection.execute(
            "UPDATE historical_data.volatility_day SET range_3_min = NULL, range_10_min = NULL, range_60_min = NULL, "
            "range_720_min = NULL WHERE symbol = 'UNRANGED'"
        )
        connection.execute(
            "UPDATE analytics.model_version SET config = config || %s::jsonb WHERE symbol = 'UNRANGED' AND model <> 'momentum'",
            [json.dumps({"coefficients": stored["coefficients"]})],
        )
    state = latest_volatility_state(reader, "UNRANGED")
    assert np.isnan(state.variances[4:]).all()
    parameters = StandardisedParameters.from_json(stored).volatility
    states = parameters.log_states(np.array(state.variances)[:, None])
    expected = 100 * parameters.sigma(states, np.array([state.minute + 1]), 60.0)[0]
    assert sigma(reader, "UNRANGED") == pytest.approx(expected, rel=1e-9)
    payload = ladder_payload(database, "UNRANGED", 0.25, 100.0, 3600.0, 0.0)
    assert payload["sigma"] == pytest.approx(expected, rel=1e-5)
    live = LiveVolatility(state, parameters)
    live.add_all((state.minute + 1 + second / 60, state.close * (1 + 1e-4 * (second % 5))) for second in range(1, 100))
    now = parameters.log_states(np.array(live.current_state().variances)[:, None])
    assert np.isfinite(parameters.sigma(now, np.array([state.minute + 2]), 60.0)).all()
    newest = "SELECT variance_3_min, range_3_min FROM historical_data.volatility WHERE symbol = 'UNRANGED' AND opened_at = %s"
    assert reader.execute(newest, [instant_of_minute(state.minute)]).fetchone() == (state.variances[0], None)
    ingest_bars(database, "UNRANGED", bars, tmp_path, len(bars.minutes) - DAY)
    with database.connect("test", Role.PIPELINE) as connection:
        update = update_volatility(connection, "UNRANGED", [])
        update_counts(connection, "UNRANGED")
    assert update.fit == "the last fit is by an earlier method"
    assert not update.parameters.volatility.outdated
    assert_equals_full_computation(reader, "UNRANGED")
    row = reader.execute(newest, [instant_of_minute(state.minute)]).fetchone()
    track = read_track(reader, "UNRANGED", state.minute, state.minute + 1)
    assert row == (track.variances[0, 0], track.variances[4, 0])


def store_parameters(database: Database, symbol: str, parameters: dict[str, object]) -> None:
    with database.connect("test", None) as connection:
        connection.execute(
            "UPDATE analytics.standardised_parameters SET parameters = %s WHERE symbol = %s",
            [json.dumps(parameters), symbol],
        )


def stored_json(connection: Connection, symbol: str) -> str:
    row = connection.execute(
        "SELECT parameters::text FROM analytics.standardised_parameters WHERE symbol = %s ORDER BY parameters_id DESC",
        [symbol],
    ).fetchone()
    assert row is not None
    return str(row[0])


@pytest.mark.parametrize("model", ["standardised", "student_t", "normal"])
@pytest.mark.parametrize("given_sigma_pct", [None, 0.05])
def test_sql_and_python_give_the_same_answer_for_every_model(
    database: Database, published: str, reader: Connection, model: str, given_sigma_pct: float | None
) -> None:
    for ttc in (0.0, 1.0, 29.5, 60.0, 90.0, 1800.0, 3599.0, 3600.0):
        for momentum in (None, -0.31, 0.004):
            payload = ladder_payload(database, published, 0.05, 100.0, ttc, momentum, model, given_sigma_pct)
            for row, interval in zip(payload["probabilities"], payload["intervals"], strict=True):
                answer = reader.execute(
                    "SELECT prob_beyond, prob_beyond_low, prob_beyond_high, bucket, model, model_version, reason "
                    "FROM analytics.strike_probability(%s, 100.0, %s, %s, %s, %s, %s, at => NULL)",
                    [published, row["strike"], ttc, momentum, model, given_sigma_pct],
                ).fetchone()
                assert answer is not None
                where = (ttc, momentum, row, answer)
                assert answer[3:] == (payload["group"], model, payload["model_version"], None), where
                assert abs(float(answer[0]) - row["prob_beyond"]) < 0.0101, where
                if ttc > 0:
                    for end, name in ((1, "prob_beyond_low"), (2, "prob_beyond_high")):
                        if interval[name] is not None:
                            assert abs(float(answer[end]) - interval[name]) < 0.0301, where
                    assert 0.01 <= row["prob_beyond"] <= 99.99, where
                else:
                    assert interval["prob_beyond_low"] is None, "the close needs no interval"
                    assert row["prob_beyond"] == (100.0 if row["strike"] == 100.0 else 0.0)


@pytest.mark.parametrize("model", ["standardised", "normal"])
@pytest.mark.parametrize(("known_mean", "basis_bps"), [(None, None), (100.04, None), (99.9, 3.0), (None, -6.5)])
def test_sql_and_python_agree_on_markets_that_settle_on_a_mean(
    database: Database,
    published: str,
    reader: Connection,
    model: str,
    known_mean: float | None,
    basis_bps: float | None,
) -> None:
    now = datetime.now(UTC)
    for ttc in (0.0, 0.4, 1.0, 2.0, 29.5, 59.0, 60.0, 61.5, 900.0, 3600.0):
        question = current_question("mean_60s", 100.0, ttc, known_mean, basis_bps, now)
        payload = ladder_payload(database, published, 0.05, 100.0, ttc, 0.004, model, 0.05, question=question)
        for row in payload["probabilities"]:
            answer = reader.execute(
                "SELECT prob_beyond, bucket, direction, reason FROM analytics.strike_probability("
                "%s, 100.0, %s, %s, 0.004, %s, 0.05, settlement => 'mean_60s', known_mean => %s, basis_bps => %s)",
                [published, row["strike"], ttc, model, known_mean, basis_bps or 0.0],
            ).fetchone()
            assert answer is not None
            assert answer[1:] == (payload["group"], row["direction"], None)
            assert abs(float(answer[0]) - row["prob_beyond"]) < 0.0101, (ttc, row, answer)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("settlement => 'mean_30s'", "settlement must be last_price or mean_60s, not mean_30s"),
        ("settlement => NULL", "settlement must be last_price or mean_60s, not NULL"),
        ("known_mean => -1", "known_mean must be positive, basis_bps a number"),
        ("basis_bps => 'NaN'", "known_mean must be positive, basis_bps a number"),
        ("basis_bps => NULL", "known_mean must be positive, basis_bps a number"),
    ],
)
def test_sql_refuses_what_is_not_a_settlement(published: str, reader: Connection, arguments: str, reason: str) -> None:
    found = reader.execute(
        f"SELECT prob_beyond, reason FROM analytics.strike_probability(%s, 100.0, 100.1, 30, {arguments})", [published]
    ).fetchone()
    assert found == (None, reason)


def test_python_refuses_what_is_not_a_settlement() -> None:
    now = datetime.now(UTC)
    with pytest.raises(SettingsError, match="settlement must be one of last_price, mean_60s, not 'mean_30s'"):
        current_question("mean_30s", 100.0, 30.0, None, None, now)
    with pytest.raises(SettingsError, match="belong to mean_60s"):
        current_question("last_price", 100.0, 30.0, None, 1.0, now)
    for known_mean, basis_bps in ((-1.0, None), (math.nan, None), (None, math.inf)):
        with pytest.raises(SettingsError):
            current_question("mean_60s", 100.0, 30.0, known_mean, basis_bps, now)


def test_a_ladder_uses_the_newest_state_unless_volatility_is_given(
    database: Database, published: str, reader: Connection
) -> None:
    state = latest_volatility_state(reader, published)
    stored = read_parameters(reader, published)
    assert stored is not None
    states = MarketStates(np.array([state.minute + 1.0]), np.zeros(1), np.array(state.variances)[:, None])
    expected = 100 * StandardisedRule(stored.parameters).sigma(states, 15.0)[0]
    assert ladder_payload(database, published, 0.25, 100.0, 900.0, 0.0)["sigma"] == pytest.approx(expected, rel=1e-5)
    row = reader.execute("SELECT * FROM analytics.sigma_pct(%s, 900)", [published]).fetchone()
    assert row is not None
    assert row[0] == pytest.approx(expected, rel=1e-6)
    assert row[1] == datetime.fromtimestamp((state.minute + 1) * 60, UTC)
    wide, narrow = (
        ladder_payload(database, published, 0.25, 100.0, 900.0, 0.0, sigma_pct=sigma)["probabilities"][15][
            "prob_beyond"
        ]
        for sigma in (1.0, 0.02)
    )
    assert wide > 20
    assert narrow < 5


@pytest.mark.parametrize(("age", "answered"), [(timedelta(hours=23, minutes=59), True), (timedelta(hours=25), False)])
def test_an_answer_has_the_age_of_its_volatility_up_to_a_day(
    database: Database, published: str, reader: Connection, age: timedelta, answered: bool
) -> None:
    state_at = datetime.fromtimestamp((latest_volatility_state(reader, published).minute + 1) * 60, UTC)
    row = reader.execute(
        "SELECT prob_beyond IS NOT NULL, state_at, state_age_seconds, built_to IS NOT NULL, reason "
        "FROM analytics.strike_probability(%s, 100.0, 100.1, 900, at => %s)",
        [published, state_at + age],
    ).fetchone()
    assert row is not None
    assert row[:4] == (answered, state_at, age.total_seconds(), True)
    arguments = (database, published, 0.25, 100.0, 900.0, None, None)
    if answered:
        assert row[4] is None
        payload = ladder_payload(*arguments, None, state_at + age)
        assert payload["volatility_age_seconds"] == age.total_seconds()
        assert datetime.fromisoformat(payload["volatility_timestamp"]) == state_at
        assert payload["built_to"] is not None
    else:
        assert "more than 24 hours before the answer" in row[4]
        with pytest.raises(NoDataError, match=r"more than 24 h old: ingest newer bars"):
            ladder_payload(*arguments, None, state_at + age)
    given = ladder_payload(*arguments, 0.05, state_at + age)
    assert given["volatility_timestamp"] is None
    assert given["probabilities"][0]["prob_beyond"] is not None


@pytest.mark.parametrize("model", ["standardised", "normal"])
def test_a_ttc_beyond_the_horizon_is_refused(
    database: Database, published: str, reader: Connection, model: str
) -> None:
    for ttc in (3_600.5, 7_200.0, 100_000.0):
        row = reader.execute(
            "SELECT prob_beyond, reason FROM analytics.strike_probability(%s, 100.0, 100.1, %s, 0, %s, 0.05)",
            [published, ttc, model],
        ).fetchone()
        assert row == (None, f"ttc_seconds {ttc:g} is beyond the horizon of the model, 3600 s")
        with pytest.raises(SettingsError, match="is beyond the horizon"):
            ladder_payload(database, published, 0.25, 100.0, ttc, 0.0, model, 0.05)


def test_the_view_of_standardised_lookup_cells_is_a_distribution(published: str, reader: Connection) -> None:
    rows = reader.execute(
        "SELECT standardised_move, prob_within_positive, prob_within_negative FROM analytics.standardised_lookup_cell "
        "WHERE symbol = %s AND model = 'standardised' AND ttc_seconds = 900 AND momentum_group = 5 ORDER BY 1",
        [published],
    ).fetchall()
    assert len(rows) == 141
    assert float(rows[20][0]) == pytest.approx(math.sinh(1.0) / 2, abs=1e-4)
    for column in (1, 2):
        values = [row[column] for row in rows]
        assert values == sorted(values)


def test_the_champion_is_standardised_once_published_unless_decided_otherwise(
    database: Database, published: str, reader: Connection
) -> None:
    assert (read_champion(reader, published).champion, read_champion(reader, published).since) == ("standardised", None)
    with database.connect("test", Role.PIPELINE) as connection:
        change_champion(connection, published, "student_t", "standardised", "a test", {"brier": 0.07}, None)
    champion = read_champion(reader, published)
    assert (champion.champion, champion.challenger, champion.reason) == ("student_t", "standardised", "a test")
    row = reader.execute("SELECT model FROM analytics.strike_probability(%s, 100, 101, 900)", [published]).fetchone()
    assert row == ("student_t",)
    with database.connect("test", Role.PIPELINE) as connection:
        change_champion(connection, published, "standardised", "student_t", "back", {}, None)
    history = reader.execute(
        "SELECT champion FROM analytics.champion_change WHERE symbol = %s ORDER BY champion_change_id", [published]
    ).fetchall()
    assert history == [("student_t",), ("standardised",)]
