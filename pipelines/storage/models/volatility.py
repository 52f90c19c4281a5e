"""Tables of the standardised model: parameters, volatility by day, counts by week, and the progress of each asset."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
from psycopg.types.json import Jsonb

from pipelines.domain.models.standardised_fingerprint import (
    BINS,
    GROUPS,
    HORIZON_MINUTES,
    Counts,
    StandardisedParameters,
)
from pipelines.domain.prices.bars import MINUTES_PER_DAY, Floats, instant_of_minute
from pipelines.domain.prices.volatility import STATE_HALF_LIVES, VolatilityState, VolatilityTrack
from pipelines.errors import NoDataError
from pipelines.storage.models.generations import code_version
from pipelines.storage.postgres import binary_copy
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements, read_value

SQL = Statements(__name__)

EPOCH = date(1970, 1, 1)
DAYS_PER_COPY = 64


@dataclass(frozen=True)
class StoredParameters:
    """Current parameters. `borrowed_from`: the symbol whose parameters and counts are used."""

    parameters_id: int
    parameters: StandardisedParameters
    borrowed_from: str | None
    fitted_until: datetime


def read_parameters(connection: Connection, symbol: str) -> StoredParameters | None:
    """The newest parameters of a symbol."""
    row = connection.execute(SQL["newest_parameters"], [symbol]).fetchone()
    if row is None:
        return None
    return StoredParameters(row[0], StandardisedParameters.from_json(row[1]), row[2], row[3])


def write_parameters(
    connection: Connection, symbol: str, parameters: StandardisedParameters, borrowed_from: str | None
) -> int:
    """Store parameters and return their id."""
    values = {
        "symbol": symbol,
        "borrowed_from": borrowed_from,
        "parameters": Jsonb(parameters.as_json()),
        "fitted_until": instant_of_minute(parameters.volatility.fitted_until),
        "code_version": code_version(),
    }
    return int(read_value(connection, SQL["insert_parameters"], values))


def write_track(
    connection: Connection, symbol: str, parameters_id: int, track: VolatilityTrack, from_minute: int
) -> int:
    """Replace a symbol's states from the day of `from_minute` on; needs a transaction. Returns the number of days.

    The track must start by that day, or with the symbol's first bar.
    """
    first_day = from_minute // MINUTES_PER_DAY
    connection.execute(SQL["delete_volatility_days"], [symbol, _date(first_day)])
    end = track.first_minute + len(track.mean_abs_return)
    days = np.arange(first_day, (end - 1) // MINUTES_PER_DAY + 1)
    with binary_copy.open_copy(connection, SQL["copy_volatility_days_in"]) as copy:
        for first in range(0, len(days), DAYS_PER_COPY):
            part = days[first : first + DAYS_PER_COPY]
            keys = [
                binary_copy.text_constant(symbol, len(part)),
                binary_copy.date_of_days(part),
                binary_copy.int4(np.full(len(part), parameters_id)),
            ]
            states = [binary_copy.float8_array(state) for state in _states_by_day(track, int(part[0]), len(part))]
            copy.write(binary_copy.encode_rows([*keys, *states]))
    return len(days)


def _states_by_day(track: VolatilityTrack, first_day: int, days: int) -> Floats:
    """The track's states on some days: float64[states, days, minutes], NaN outside of the track."""
    grid = np.full((len(STATE_HALF_LIVES) + 1, days * MINUTES_PER_DAY), np.nan)
    begin = first_day * MINUTES_PER_DAY - track.first_minute
    source = slice(max(begin, 0), min(begin + grid.shape[1], len(track.mean_abs_return)))
    target = slice(source.start - begin, source.stop - begin)
    grid[0, target], grid[1:, target] = track.mean_abs_return[source], track.variances[:, source]
    return grid.reshape(len(grid), days, MINUTES_PER_DAY)


def read_track(connection: Connection, symbol: str, first_minute: int, end: int) -> VolatilityTrack:
    """States of the minutes first_minute..end-1; NaN where none is stored, ranges also on days of earlier versions."""
    first_day, last_day = first_minute // MINUTES_PER_DAY, (end - 1) // MINUTES_PER_DAY
    cursor = connection.cursor(binary=True)
    result = cursor.execute(SQL["volatility_days"], [symbol, _date(first_day), _date(last_day)]).pgresult
    assert result is not None
    states = np.full((len(STATE_HALF_LIVES) + 1, last_day - first_day + 1, MINUTES_PER_DAY), np.nan)
    for row in range(result.ntuples):
        day_data = result.get_value(row, 0)
        assert day_data is not None
        day = int.from_bytes(day_data, "big", signed=True) + (date(2000, 1, 1) - EPOCH).days
        for state in range(len(states)):
            if (stored := result.get_value(row, state + 1)) is not None:
                states[state, day - first_day] = binary_copy.decode_array(stored, ">f8")
    flat = states.reshape(len(states), -1)[:, first_minute - first_day * MINUTES_PER_DAY :][:, : end - first_minute]
    return VolatilityTrack(first_minute, flat[0], flat[1:])


def read_volatility_state(connection: Connection, symbol: str, minute: int) -> VolatilityState | None:
    """State after a minute, None if not stored. Its close is NaN if the minute has no bar."""
    track = read_track(connection, symbol, minute, minute + 1)
    if np.isnan(track.mean_abs_return[0]):
        return None
    row = connection.execute(SQL["close_at"], [symbol, instant_of_minute(minute)]).fetchone()
    close = float("nan") if row is None else float(row[0])
    return VolatilityState(minute, close, float(track.mean_abs_return[0]), tuple(track.variances[:, 0].tolist()))


def count_days(connection: Connection, symbol: str) -> int:
    """Number of days with states."""
    return int(read_value(connection, SQL["count_volatility_days"], [symbol]))


def latest_volatility_state(connection: Connection, symbol: str) -> VolatilityState:
    """State after the newest bar with volatility. Raises NoDataError when there is none."""
    row = connection.execute(SQL["newest_volatility_day"], [symbol]).fetchone()
    if row is not None and row[0] is not None:
        first = (row[0] - EPOCH).days * MINUTES_PER_DAY
        track = read_track(connection, symbol, first, first + MINUTES_PER_DAY)
        known = np.flatnonzero(~np.isnan(track.mean_abs_return))
        if len(known):
            found = read_volatility_state(connection, symbol, first + int(known[-1]))
            assert found is not None
            return found
    raise NoDataError(f"{symbol} has no volatility: run `strikecast build {symbol}`")


def write_counts(
    connection: Connection, symbol: str, parameters_id: int, weeks: Mapping[int, Counts], from_week: int
) -> None:
    """Replace a symbol's counts from a week on, and all counts by other parameters; needs a transaction."""
    connection.execute(SQL["delete_counts"], [symbol, from_week, parameters_id])
    with binary_copy.open_copy(connection, SQL["copy_counts_in"]) as copy:
        for week in sorted(weeks):
            columns = [
                binary_copy.text_constant(symbol, HORIZON_MINUTES),
                binary_copy.int2(np.full(HORIZON_MINUTES, week)),
                binary_copy.int2(np.arange(1, HORIZON_MINUTES + 1)),
                binary_copy.int4(np.full(HORIZON_MINUTES, parameters_id)),
                binary_copy.int2_array(weeks[week].reshape(HORIZON_MINUTES, -1).astype(np.int16)),
            ]
            copy.write(binary_copy.encode_rows(columns))


def read_counts(connection: Connection, symbol: str, first_week: int, last_week: int) -> dict[int, Counts]:
    """Counts by week."""
    result = connection.cursor(binary=True).execute(SQL["counts"], [symbol, first_week, last_week]).pgresult
    assert result is not None
    if not result.ntuples:
        return {}
    rows = binary_copy.stack_arrays([result.get_value(row, 2) for row in range(result.ntuples)], ">i2", 0)
    by_week = rows.reshape(-1, HORIZON_MINUTES, GROUPS, BINS)
    weeks = [
        int.from_bytes(result.get_value(row, 0) or b"", "big") for row in range(0, result.ntuples, HORIZON_MINUTES)
    ]
    return dict(zip(weeks, by_week.astype(np.int16), strict=True))


def _date(day: int) -> date:
    return EPOCH + timedelta(days=int(day))
