"""Momentum and gaps updated by increments equal those of all bars."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.domain.configuration.model import ModelConfig, Profile
from pipelines.domain.maintenance.archive import StoredMonth
from pipelines.domain.prices.synthetic_bars import SimulationParameters, generate_bars
from pipelines.ingestion.ingest import ingest_candles
from pipelines.storage.files.archive import Archive
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.prices.archive import archive_month
from pipelines.storage.prices.history import Candle
from pipelines.storage.prices.increments import MomentumUpdate, update_gaps, update_momentum
from pipelines.storage.prices.progress import symbols_to_build

CONFIG = ModelConfig()
START = datetime(2025, 1, 1, tzinfo=UTC)
BARS = generate_bars(SimulationParameters(100.0, gaps_per_day=8.0), days=3, end_minute=29_000_000, seed=7)
CANDLES: list[Candle] = [
    (START + timedelta(minutes=int(minute - BARS.minutes[0])), close, close, close, close, 1.0)
    for minute, close in zip(BARS.minutes.tolist(), BARS.close.tolist(), strict=True)
]
MOMENTUM = (
    "SELECT opened_at, momentum_score_pct, momentum_bucket FROM historical_data.momentum WHERE symbol = %s ORDER BY 1"
)
GAPS = "SELECT first_missing_at, last_missing_at, missing_minutes FROM historical_data.price_gap WHERE symbol = %s ORDER BY 1"


def store(database: Database, symbol: str, candles: list[Candle]) -> None:
    ingest_candles(database, symbol, "candles", candles, datetime.now(UTC))


def update(
    database: Database, symbol: str, config: ModelConfig = CONFIG, *, incremental: bool = True
) -> MomentumUpdate:
    with database.connect("test", Role.PIPELINE) as connection:
        update_gaps(connection, symbol, incremental=incremental)
        return update_momentum(connection, symbol, config, incremental=incremental)


def stored(database: Database, symbol: str) -> tuple[list[object], list[object]]:
    with database.connect("test", None) as connection:
        return connection.execute(MOMENTUM, [symbol]).fetchall(), connection.execute(GAPS, [symbol]).fetchall()


def assert_equals_full_update(database: Database, symbol: str, config: ModelConfig = CONFIG) -> None:
    found = stored(database, symbol)
    changes = update(database, symbol, config, incremental=False)
    assert (changes.report.written, changes.report.deleted) == (0, 0)
    assert stored(database, symbol) == found


def test_new_bars_after_a_gap(database: Database) -> None:
    store(database, "NEWER", CANDLES[:2000])
    assert update(database, "NEWER").since == 0
    store(database, "NEWER", CANDLES[2100:])
    changes = update(database, "NEWER")
    assert changes.since > 0
    assert changes.report.rows < 2300
    assert_equals_full_update(database, "NEWER")


def test_corrected_filled_and_earlier_bars(database: Database) -> None:
    store(database, "MENDED", [*CANDLES[500:1500], *CANDLES[1600:]])
    update(database, "MENDED")
    at, *values = CANDLES[1000]
    corrected: Candle = (at, values[0], values[1] * 1.01, values[2], values[3] * 1.01, values[4])
    for more in ([corrected], CANDLES[1550:1600], CANDLES[:400]):
        store(database, "MENDED", more)
        update(database, "MENDED")
        assert_equals_full_update(database, "MENDED")


def test_no_new_bars_change_nothing(database: Database) -> None:
    store(database, "SAME", CANDLES[:500])
    update(database, "SAME")
    found = stored(database, "SAME")
    assert update(database, "SAME").report.written == 0
    assert stored(database, "SAME") == found


@pytest.mark.parametrize("first", [Profile.SOUND, Profile.SOURCE])
def test_another_profile_is_computed_from_all_bars(database: Database, first: Profile) -> None:
    symbol = f"P{first}".upper()
    both = {profile: ModelConfig(profile=profile) for profile in Profile}
    second = next(profile for profile in Profile if profile is not first)
    store(database, symbol, CANDLES[:1000])
    update(database, symbol, both[first])
    store(database, symbol, CANDLES[1000:1500])
    assert update(database, symbol, both[second]).since == 0
    assert_equals_full_update(database, symbol, both[second])


def test_an_archived_month_is_taken_out(database: Database, tmp_path: Path) -> None:
    store(database, "OLD", CANDLES)
    update(database, "OLD")
    month = StoredMonth("OLD", START.date(), len(CANDLES), CANDLES[-1][0])
    february: list[Candle] = [(at + timedelta(days=31), *values) for at, *values in CANDLES]
    store(database, "OLD", february)
    update(database, "OLD")
    with database.connect("test", Role.PIPELINE) as connection:
        archive_month(connection, Archive(tmp_path), month)
    assert update(database, "OLD").since == 0
    assert_equals_full_update(database, "OLD")


def test_symbols_without_a_published_build_are_to_be_built(database: Database) -> None:
    store(database, "UNBUILT", CANDLES[:100])
    with database.connect("test", Role.PIPELINE) as connection:
        [(symbol, ingestion)] = symbols_to_build(connection, ["UNBUILT", "UNKNOWN"]).items()
    assert symbol == "UNBUILT"
    store(database, "UNBUILT", CANDLES[:100])  # nothing changes
    with database.connect("test", Role.PIPELINE) as connection:
        assert symbols_to_build(connection, ["UNBUILT"]) == {"UNBUILT": ingestion}
