"""Stored momentum and gap reports: written only where they differ from what is stored."""

from datetime import UTC, datetime

import numpy as np
import psycopg
import pytest

from pipelines.domain.configuration.model import ModelConfig, Profile
from pipelines.domain.models.invariants import Gap
from pipelines.domain.prices.bars import Closes
from pipelines.domain.prices.momentum import NO_BUCKET, Momentum, compute_momentum
from pipelines.domain.prices.synthetic_bars import SimulationParameters, generate_bars
from pipelines.errors import NoDataError, StrikecastError
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.prices.history import (
    MomentumReport,
    newest_bar_at,
    read_closes,
    require_current_momentum,
    summarize_bars,
    write_gaps,
    write_momentum,
)

CONFIG = ModelConfig()
BARS = generate_bars(SimulationParameters(100.0, gaps_per_day=0.0), days=1, end_minute=29_000_000, seed=7)
FIRST = 29_000_000 - 1440
#: Bars whose momentum depends on bar 700.
AFFECTED = [700 + lag for lag in (0, *CONFIG.momentum_lags_minutes)]
WRITTEN = "SELECT opened_at, xmin::text, momentum_score_pct FROM historical_data.momentum WHERE symbol = %s"


def store(database: Database, symbol: str, close: dict[int, float] | None = None, without: int | None = None) -> None:
    """Replace the stored bars of a symbol by bars 0..1439, with some other closes and without one bar."""
    values = [(close or {}).get(k, value) for k, value in enumerate(BARS.close.tolist())]
    kept = [(symbol, FIRST + k, value) for k, value in enumerate(values) if k != without]
    with database.connect("test", None) as connection:
        connection.execute("SELECT historical_data.create_symbol_partitions(%s)", [symbol])
        connection.execute("DELETE FROM historical_data.price_history WHERE symbol = %s", [symbol])
        connection.cursor().executemany(
            """
            INSERT INTO historical_data.price_history
            SELECT symbol, to_timestamp(minute * 60), close, close, close, close, 1
            FROM (SELECT %s AS symbol, %s AS minute, %s AS close) AS bar
            """,
            kept,
        )


def refresh(database: Database, symbol: str, config: ModelConfig = CONFIG) -> MomentumReport:
    """Compute and write the momentum of the stored bars."""
    with database.connect("test", Role.PIPELINE) as connection:
        closes = read_closes(connection, symbol)
        return write_momentum(connection, symbol, closes, compute_momentum(closes, config))


def reread(connection: Connection, symbol: str) -> tuple[Closes, Momentum]:
    """Closes, and stored momentum in their order."""
    closes = read_closes(connection, symbol)
    stored = Momentum(np.full(len(closes), np.nan), np.full(len(closes), NO_BUCKET, dtype=np.int8))
    rows = connection.execute(
        "SELECT opened_at, momentum_score_pct, momentum_bucket FROM historical_data.momentum WHERE symbol = %s",
        [symbol],
    )
    for opened_at, score_pct, bucket in rows:
        at = np.flatnonzero(closes.minutes == int(opened_at.timestamp()) // 60)
        stored.score_pct[at], stored.buckets[at] = score_pct, bucket
    return closes, stored


def written(database: Database, symbol: str) -> dict[int, tuple[str, float]]:
    """Transaction and score of each stored row, by bar number."""
    with database.connect("test", None) as connection:
        rows = connection.execute(WRITTEN, [symbol]).fetchall()
    return {int(at.timestamp()) // 60 - FIRST: (transaction, score) for at, transaction, score in rows}


def test_momentum_reads_back_as_it_was_written(database: Database) -> None:
    store(database, "ROUND", without=300)
    refresh(database, "ROUND")
    with database.connect("test", Role.READER) as connection:
        closes, stored = reread(connection, "ROUND")
    expected = compute_momentum(closes, CONFIG)
    assert np.array_equal(stored.score_pct, expected.score_pct, equal_nan=True)
    assert np.array_equal(stored.buckets, expected.buckets)
    assert (stored.buckets[:30] == NO_BUCKET).all()


def test_a_score_without_a_bucket_is_stored_in_the_source_profile(database: Database) -> None:
    store(database, "WILD", close={700: 110.0})
    refresh(database, "WILD", ModelConfig(profile=Profile.SOURCE))
    with database.connect("test", Role.READER) as connection:
        _, stored = reread(connection, "WILD")
    assert stored.buckets[700] == NO_BUCKET
    assert stored.score_pct[700] > 1.0


def test_unchanged_momentum_is_not_rewritten(database: Database) -> None:
    store(database, "ONCE")
    assert refresh(database, "ONCE") == MomentumReport(1410, 1410, 0)
    before = written(database, "ONCE")
    assert refresh(database, "ONCE") == MomentumReport(1410, 0, 0)
    assert written(database, "ONCE") == before
    assert sorted(before) == list(range(30, 1440))


def test_a_corrected_bar_rewrites_only_the_momentum_that_depends_on_it(database: Database) -> None:
    store(database, "LAGS")
    refresh(database, "LAGS")
    before = written(database, "LAGS")
    store(database, "LAGS", close={700: BARS.close[700] + 1.0})
    assert refresh(database, "LAGS") == MomentumReport(1410, len(AFFECTED), 0)
    after = written(database, "LAGS")
    assert sorted(k for k in after if after[k] != before[k]) == AFFECTED
    assert len({after[k][0] for k in AFFECTED}) == 1


def test_deleting_a_bar_deletes_the_momentum_that_depends_on_it(database: Database) -> None:
    store(database, "GONE")
    refresh(database, "GONE")
    before = written(database, "GONE")
    store(database, "GONE", without=700)
    assert refresh(database, "GONE") == MomentumReport(1410 - len(AFFECTED), 0, len(AFFECTED))
    assert written(database, "GONE") == {k: row for k, row in before.items() if k not in AFFECTED}
    store(database, "GONE")
    assert refresh(database, "GONE") == MomentumReport(1410, len(AFFECTED), 0)


def test_a_failed_write_leaves_the_momentum_unchanged(database: Database) -> None:
    def write_and_fail() -> None:
        with database.connect("test", Role.PIPELINE) as connection:
            closes = read_closes(connection, "FAIL")
            assert write_momentum(connection, "FAIL", closes, compute_momentum(closes, CONFIG)).written == len(AFFECTED)
            connection.execute("SELECT 1 / 0")

    store(database, "FAIL")
    refresh(database, "FAIL")
    before = written(database, "FAIL")
    store(database, "FAIL", close={700: BARS.close[700] + 1.0})
    with pytest.raises(psycopg.errors.DivisionByZero):
        write_and_fail()
    assert written(database, "FAIL") == before


@pytest.mark.parametrize("changed", ["missing", "newest deleted", "one deleted", "one corrected"])
def test_stored_momentum_of_other_bars_is_detected(database: Database, changed: str) -> None:
    symbol = changed.replace(" ", "").upper()
    store(database, symbol)
    if changed != "missing":
        refresh(database, symbol)
    close = {700: BARS.close[700] + 1.0} if changed == "one corrected" else {}
    store(database, symbol, close, without={"newest deleted": 1439, "one deleted": 700}.get(changed))
    with database.connect("test", Role.READER) as connection:
        momentum = compute_momentum(read_closes(connection, symbol), CONFIG)
        with pytest.raises(NoDataError, match="materialize") as raised:
            require_current_momentum(connection, symbol, momentum, CONFIG.profile)
    assert symbol in str(raised.value)


@pytest.mark.parametrize("profile", Profile)
def test_stored_momentum_of_another_profile_is_detected(database: Database, profile: Profile) -> None:
    symbol, (other,) = f"BY{profile.upper()}", set(Profile) - {profile}
    store(database, symbol, close={700: 110.0}, without=300)
    refresh(database, symbol, ModelConfig(profile=profile))
    with database.connect("test", Role.READER) as connection:
        closes = read_closes(connection, symbol)
        require_current_momentum(connection, symbol, compute_momentum(closes, ModelConfig(profile=profile)), profile)
        with pytest.raises(NoDataError, match=f"by profile {other}"):
            require_current_momentum(connection, symbol, compute_momentum(closes, ModelConfig(profile=other)), other)


def test_symbols_do_not_mix(database: Database) -> None:
    store(database, "ONE")
    store(database, "TWO", close={700: 500.0}, without=800)
    refresh(database, "ONE")
    before = written(database, "ONE")
    refresh(database, "TWO")
    assert written(database, "ONE") == before
    with database.connect("test", Role.READER) as connection:
        assert read_closes(connection, "ONE").usd.tolist() == BARS.close.tolist()
        assert read_closes(connection, "TWO").usd[700] == 500.0
        assert [summarize_bars(connection, symbol).bars for symbol in ("ONE", "TWO", "NONE")] == [1440, 1439, 0]
        assert newest_bar_at(connection, "ONE") == datetime.fromtimestamp((FIRST + 1439) * 60, UTC)
        assert newest_bar_at(connection, "NONE") is None
        with pytest.raises(NoDataError, match="NONE has no bars: run `strikecast ingest NONE PATH`"):
            read_closes(connection, "NONE")


def test_the_error_for_an_inexact_close_names_the_symbol(database: Database) -> None:
    store(database, "FINE", close={700: 104.65350000000001})
    with database.connect("test", Role.READER) as connection, pytest.raises(StrikecastError, match="FINE"):
        read_closes(connection, "FINE")


def test_a_gap_report_is_replaced_only_for_its_symbol(database: Database, pipeline: Connection) -> None:
    first, second = Gap(FIRST, FIRST), Gap(FIRST + 10, FIRST + 19)
    write_gaps(pipeline, "LEFT", [first, second])
    write_gaps(pipeline, "RIGHT", [first])
    write_gaps(pipeline, "LEFT", [second])
    at = datetime.fromtimestamp((FIRST + 10) * 60, UTC), datetime.fromtimestamp((FIRST + 19) * 60, UTC)
    statement = "SELECT * FROM historical_data.price_gap WHERE symbol = %s"
    assert pipeline.execute(statement, ["LEFT"]).fetchall() == [("LEFT", *at, 10)]
    assert len(pipeline.execute(statement, ["RIGHT"]).fetchall()) == 1
    write_gaps(pipeline, "LEFT", [])
    assert pipeline.execute(statement, ["LEFT"]).fetchall() == []
