"""Ladders of published models: Python and SQL give one answer, and refuse the same questions."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from pipelines.domain.models.base import MarketStates
from pipelines.domain.models.standardised import StandardisedRule
from pipelines.errors import NoDataError, SettingsError
from pipelines.storage.models.champions import change_champion, read_champion
from pipelines.storage.models.ladders import current_question, ladder_payload
from pipelines.storage.models.volatility import latest_volatility_state, read_parameters
from pipelines.storage.postgres.connection import Connection, Database, Role


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
