"""Volatility and counts in the database: updates, corrections, borrowing, and equality of SQL and Python."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psycopg
import pytest
from synthetic_prices import END_MINUTE, ingest_bars, publish_all, synthetic_bars, update_models

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.models.standardised_fingerprint import OLDEST_WEEKS, StandardisedParameters, count_weeks
from pipelines.domain.prices.bars import MINUTES_PER_WEEK, instant_of_minute
from pipelines.domain.prices.synthetic_bars import SimulationParameters, SyntheticBars
from pipelines.domain.prices.volatility import STATE_HALF_LIVES, LiveVolatility
from pipelines.errors import BuildError, NoDataError
from pipelines.storage.models.ladders import ladder_payload
from pipelines.storage.models.refit import update_counts, update_volatility
from pipelines.storage.models.volatility import (
    latest_volatility_state,
    read_counts,
    read_parameters,
    read_track,
)
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.prices.history import read_market_history

DAY = 1440


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
