"""Stored scores against quotes, and the decision about the pool that live sessions read from them."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest

from pipelines.domain.evaluation.edge import Dimension, EdgeScore, Estimate, Forecaster
from pipelines.domain.evaluation.scoring import Interval
from pipelines.domain.markets.pool import PoolDecision
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.storage.evaluation.edge import EdgeRun, read_pool_decisions, read_pool_decisions_async, write_edge
from pipelines.storage.postgres.connection import AsyncConnection, Database, Role

RUN = EdgeRun(
    "kalshi",
    "BTC",
    "KXBTCD",
    SettlementRule.MEAN_60S,
    "standardised",
    datetime(2025, 4, 11, 20, 1, tzinfo=UTC),
    datetime(2025, 5, 3, 22, 59, tzinfo=UTC),
    {"quotes on one side": 3},
    ("KXBTCD-25APR1117: no value of the index gives all its results",),
)
NOTHING = Estimate(0.1, None, None)
BETTER = Estimate(-0.0013, Interval(-0.0013, -0.0018, -0.0007), Interval(-0.0013, -0.002, 0.0001))
UNCLEAR = Estimate(-0.0001, Interval(-0.0001, -0.001, 0.0004), None)


@pytest.fixture(autouse=True)
def _empty(database: Database) -> Iterator[None]:
    yield
    with database.connect("test", None, autocommit=True) as connection:
        connection.execute("TRUNCATE analytics.edge_run, analytics.edge_score, analytics.champion_change")


def scores(difference: Estimate, events: int = 304) -> list[EdgeScore]:
    counts = (70158, events, 20, 0.5, 0.51)
    return [
        EdgeScore(Dimension.ALL, "all", forecaster, *counts, NOTHING, NOTHING, difference, NOTHING)
        for forecaster in Forecaster
    ]


def stored(database: Database, run: EdgeRun, found: list[EdgeScore]) -> int:
    with psycopg.connect(database.conninfo("test", Role.PIPELINE)) as connection:
        return write_edge(connection, run, found, "a run")


def decisions(database: Database, exchange: str = "kalshi") -> dict[str, PoolDecision]:
    with psycopg.connect(database.conninfo("test", Role.LIVE)) as connection:
        return read_pool_decisions(connection, exchange)


def test_the_newest_scores_of_a_series_decide(database: Database) -> None:
    assert decisions(database) == {}
    stored(database, RUN, scores(UNCLEAR))
    assert decisions(database)["KXBTCD"] == PoolDecision(False, "interval [-0.0010, +0.0004] includes zero")
    stored(database, replace(RUN, series_ticker="KXBTC15M"), scores(BETTER, 120))
    stored(database, RUN, scores(BETTER))
    found = decisions(database)
    assert found["KXBTCD"].served
    assert found["KXBTC15M"].reason == "120 settled events, 200 are needed"
    stored(database, RUN, scores(UNCLEAR))
    assert not decisions(database)["KXBTCD"].served


def test_simulated_and_real_series_do_not_mix(database: Database) -> None:
    stored(database, replace(RUN, exchange="simulated"), scores(BETTER))
    assert decisions(database) == {}
    assert decisions(database, "simulated")["KXBTCD"].served
    stored(database, RUN, scores(UNCLEAR))
    assert not decisions(database)["KXBTCD"].served
    assert decisions(database, "simulated")["KXBTCD"].served


def test_scores_of_another_model_than_the_champion_serve_nothing(published: Database) -> None:
    stored(published, RUN, scores(BETTER))
    found = decisions(published)["KXBTCD"]
    assert found == PoolDecision(False, "the scores are of standardised, and momentum answers now")


def test_a_session_reads_the_same_without_blocking(database: Database) -> None:
    stored(database, RUN, scores(BETTER))

    async def read() -> dict[str, PoolDecision]:
        async with await AsyncConnection.connect(database.conninfo("test", Role.LIVE)) as connection:
            return await read_pool_decisions_async(connection, "kalshi")

    assert asyncio.run(read()) == decisions(database)


def test_every_number_is_stored_in_its_own_column(database: Database) -> None:
    """Each of the four measures with both of its intervals."""
    four = [
        Estimate(
            10.0 * i, Interval(10.0 * i, 10.0 * i + 1, 10.0 * i + 2), Interval(10.0 * i, 10.0 * i + 3, 10.0 * i + 4)
        )
        for i in range(1, 5)
    ]
    score = EdgeScore(Dimension.TTC, "3-5", Forecaster.MODEL, 7, 3, 2, 0.25, 0.75, *four)
    number = stored(database, RUN, [score])
    with psycopg.connect(database.conninfo("test", Role.READER), row_factory=psycopg.rows.dict_row) as connection:
        row = connection.execute("SELECT * FROM analytics.edge_score WHERE edge_run_id = %s", [number]).fetchone()
        run = connection.execute("SELECT * FROM analytics.edge_run WHERE edge_run_id = %s", [number]).fetchone()
    assert row is not None
    assert run is not None
    for i, measure in enumerate(("brier", "log_loss", "brier_difference", "log_loss_difference"), start=1):
        ends = [row[f"{measure}_{end}_by_{block}"] for block in ("event", "day") for end in ("low", "high")]
        assert [row[measure], *ends] == [10.0 * i + j for j in range(5)]
    assert (row["dimension"], row["level"], row["forecaster"]) == ("ttc_minutes", "3-5", "model")
    assert (run["quotes"], run["events"], run["days"], run["dagster_run_id"]) == (7, 3, 2, "a run")
    assert run["left_out"] == {"quotes on one side": 3, "refused": list(RUN.refused)}
    assert (run["scored_from"], run["scored_until"]) == (RUN.scored_from, RUN.scored_until)


@pytest.mark.parametrize("role", [Role.LIVE, Role.READER])
def test_only_the_pipeline_stores_scores(database: Database, role: Role) -> None:
    with (
        psycopg.connect(database.conninfo("test", role)) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        write_edge(connection, RUN, scores(BETTER))
