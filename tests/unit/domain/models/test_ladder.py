"""Strike ladders, the live JSON and the momentum of ticks."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.domain.configuration.model import ModelConfig, Profile
from pipelines.domain.models.base import MarketStates
from pipelines.domain.models.ladder import (
    LadderAnswers,
    LadderQuery,
    LiveState,
    base_strike_usd,
    ladder_strikes_usd,
    live_payload,
    next_market_close,
    ttc_seconds,
)
from pipelines.domain.models.lookup import LookupAxes, LookupRow
from pipelines.domain.models.momentum import MomentumRule
from pipelines.domain.models.probability import Reading
from pipelines.domain.prices.bars import closes_from_usd
from pipelines.domain.prices.momentum import compute_momentum
from pipelines.domain.prices.ticks import Tick, TickHistory

CONTRACT = (
    "timestamp",
    "current_price",
    "base_strike",
    "ttc_seconds",
    "momentum_score",
    "strikes",
    "probabilities",
    "fingerprint_table",
)
ROW = ["strike", "buffer", "move_percent", "prob_beyond", "prob_within", "direction", "positive_prob", "negative_prob"]
AXES = LookupAxes(Profile.SOUND, 5, 3600, 1, 200)
NOW = datetime(2026, 7, 1, 13, 30, 0, tzinfo=UTC)
POSITIVE = np.linspace(5_000, 9_800, 201).astype(np.int16)
NEGATIVE = np.linspace(5_500, 9_600, 201).astype(np.int16)


def _answers(price: float = 95_123.45, tier: float = 250.0, ttc: float = 1800.0, known: bool = True) -> LadderAnswers:
    positive, negative, n_eff = (POSITIVE, NEGATIVE, 123.456) if known else (None, None, 0.0)
    rows = {node: LookupRow(node, positive, negative, n_eff) for node in AXES.nodes_around(ttc)}
    states = MarketStates.single(0.0, 0.0)
    query = LadderQuery(MomentumRule(ModelConfig()), AXES, states, price, ladder_strikes_usd(price, tier), ttc)
    return query.answer_from_lookup(rows)


def _payload(
    *,
    now: datetime = NOW,
    age_seconds: float = 0.25,
    known: bool = True,
    problems: tuple[str, ...] = (),
    bucket: int | None = -7,
) -> dict[str, Any]:
    tick = Tick(now - timedelta(seconds=age_seconds), 95_123.45)
    score = None if bucket is None else bucket / 100 + 0.001234
    state = LiveState(now, tick, score, bucket, "btc_fingerprint_directional_momentum_-07", 42)
    return live_payload(state, 250.0, _answers(known=known), problems)


@pytest.mark.parametrize(
    ("price", "tier", "base"),
    [
        (95_123.45, 250.0, 95_000.0),
        (95_125.01, 250.0, 95_250.0),
        (95_125.0, 250.0, 95_000.0),
        (95_375.0, 250.0, 95_500.0),
        (95_250.0, 250.0, 95_250.0),
        (3_512.0, 20.0, 3_520.0),
    ],
)
def test_the_base_strike_is_the_nearest_with_halves_to_even(price: float, tier: float, base: float) -> None:
    assert base_strike_usd(price, tier) == base


def test_a_ladder_has_21_strikes_around_its_base_one_tier_apart() -> None:
    assert ladder_strikes_usd(95_123.45, 250.0).tolist() == [95_000.0 + 250.0 * i for i in range(-10, 11)]


def test_strikes_at_or_below_zero_are_left_out() -> None:
    assert ladder_strikes_usd(1_100.0, 250.0).tolist() == [250.0 * i for i in range(1, 15)]


def test_strikes_of_a_small_tier_are_exact_decimals() -> None:
    # 0.30000000000000004 is not the market's strike and lies above a price of 0.30, on the wrong side.
    assert base_strike_usd(0.3, 0.1) == 0.3
    assert ladder_strikes_usd(1.23, 0.05).tolist() == [round(0.75 + 0.05 * i, 2) for i in range(21)]


def test_a_strike_above_the_price_uses_the_upward_side_and_any_other_the_downward_one() -> None:
    answers = _answers(price=95_000.0)
    rows = answers.rows()
    assert [row["direction"] for row in rows] == ["below"] * 11 + ["above"] * 10
    assert [row["buffer"] for row in rows] == [abs(250.0 * i) for i in range(-10, 11)]
    move_bps = np.array([row["buffer"] for row in rows]) / 95_000.0 * 10_000
    np.testing.assert_allclose([row["move_percent"] for row in rows], move_bps / 100, atol=5.1e-5)
    for side, strikes in ((POSITIVE, slice(11, 21)), (NEGATIVE, slice(0, 11))):
        expected = 100.0 - np.interp(move_bps[strikes], np.arange(201), side / 100.0)
        np.testing.assert_allclose(answers.reading.beyond[strikes], expected, atol=1e-9)


def test_positive_and_negative_prob_follow_the_direction_of_the_strike() -> None:
    rows = _answers().rows()
    assert [row["direction"] for row in rows] == ["below"] * 11 + ["above"] * 10
    for row in rows:
        assert list(row) == ROW
        assert row["prob_beyond"] + row["prob_within"] == pytest.approx(100.0, abs=1e-9)
        far, near = (
            ("positive_prob", "negative_prob") if row["direction"] == "above" else ("negative_prob", "positive_prob")
        )
        assert (row[far], row[near]) == (row["prob_beyond"], row["prob_within"])
        assert row["buffer"] == round(abs(row["strike"] - 95_123.45), 2)
        assert row["move_percent"] == pytest.approx(row["buffer"] / 95_123.45 * 100, abs=5.1e-5)
        for name in ("prob_beyond", "prob_within", "positive_prob", "negative_prob"):
            assert row[name] == round(row[name], 2)


def test_an_answer_without_data_is_null() -> None:
    for row in _answers(known=False).rows():
        assert {row[name] for name in ("prob_beyond", "prob_within", "positive_prob", "negative_prob")} == {None}


def test_the_json_begins_with_the_originals_fields_in_their_order() -> None:
    payload = _payload()
    assert tuple(payload)[:8] == CONTRACT
    added = list(payload)[8:]
    wanted = ("status", "price_age_ms", "momentum_bucket", "clamped", "n_eff", "model_version", "market_close")
    assert [name for name in added if name in wanted] == list(wanted)
    assert len(payload["strikes"]) == len(payload["probabilities"]) == 21
    assert payload["strikes"] == [row["strike"] for row in payload["probabilities"]]


def test_the_originals_fields_take_242_newlines() -> None:
    payload = _payload()
    text = orjson.dumps({name: payload[name] for name in CONTRACT}, option=orjson.OPT_INDENT_2)
    assert text.count(b"\n") == 242


def test_the_json_contains_the_inputs_of_the_answer() -> None:
    payload = _payload(now=NOW + timedelta(milliseconds=123))
    del payload["probabilities"], payload["strikes"], payload["quantiles"], payload["curve"]
    assert payload == {
        "timestamp": "2026-07-01T13:30:00.123Z",
        "current_price": 95_123.45,
        "base_strike": 95_000,
        "ttc_seconds": 1800,
        "momentum_score": -0.0688,
        "fingerprint_table": "btc_fingerprint_directional_momentum_-07",
        "status": "ok",
        "reasons": [],
        "price_age_ms": 250,
        "price_timestamp": "2026-07-01T13:29:59.873Z",
        "momentum_bucket": -7,
        "clamped": 5,
        "n_eff": 123.5,
        "model_version": 42,
        "market_close": "2026-07-01T14:00:00Z",
        "model": None,
        "sigma": None,
        "group": None,
        "thin_evidence": False,
        "intervals": [{"prob_beyond_low": None, "prob_beyond_high": None, "n_independent": None}] * 21,
        "session": None,
        "source": None,
        "replayed_timestamp": None,
        "settlement": "last_price",
        "known_values": 0,
        "known_mean": None,
        "basis": None,
        "warnings": [],
    }


def test_whole_strikes_are_written_as_integers() -> None:
    text = orjson.dumps(_payload())
    assert b'"base_strike":95000,' in text
    assert b'"strikes":[92500,92750,' in text


@pytest.mark.parametrize(("age", "status"), [(0.0, "ok"), (2.0, "ok"), (2.001, "stale"), (86_400.0, "stale")])
def test_a_price_is_stale_once_it_is_older_than_2_seconds(age: float, status: str) -> None:
    payload = _payload(age_seconds=age)
    assert (payload["status"], payload["price_age_ms"]) == (status, round(age * 1000))


def test_missing_data_or_a_problem_sets_the_status_degraded_with_a_reason() -> None:
    assert _payload(known=False)["status"] == "degraded"
    assert _payload(known=False)["reasons"]
    payload = _payload(problems=("no momentum yet",), bucket=None)
    assert (payload["status"], payload["reasons"]) == ("degraded", ["no momentum yet"])
    assert (payload["momentum_score"], payload["momentum_bucket"]) == (None, None)


def test_stale_takes_precedence_over_degraded() -> None:
    payload = _payload(known=False, age_seconds=3.0, problems=("no momentum yet",))
    assert payload["status"] == "stale"
    assert "no momentum yet" in payload["reasons"]


@settings(deadline=None)
@given(
    price=st.floats(0.01, 1e7),
    tier=st.sampled_from([0.01, 1.0, 20.0, 250.0]),
    ttc=st.integers(0, 4_000_000_000).map(lambda microseconds: microseconds / 1e6),
    known=st.booleans(),
    bucket=st.sampled_from([None, -30, 0, 30]),
)
def test_the_json_never_contains_nan(price: float, tier: float, ttc: float, known: bool, bucket: int | None) -> None:
    state = LiveState(NOW, Tick(NOW, price), None if bucket is None else bucket / 100, bucket, None, None)
    payload = live_payload(state, tier, _answers(price, tier, ttc, known), [])
    assert json.loads(json.dumps(payload, allow_nan=False)) == payload
    for row in payload["probabilities"]:
        assert row["prob_beyond"] is None or 0.0 <= row["prob_beyond"] <= 100.0


@settings(deadline=None)
@given(at=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)), minutes=st.sampled_from([-300, -240, 0, 330, 345]))  # noqa: DTZ001
def test_ttc_is_1_to_3600_whole_seconds_rounded_up_to_the_next_top_of_the_hour(at: datetime, minutes: int) -> None:
    now = at.replace(tzinfo=UTC)
    left = 3_600_000_000 - ((now.minute * 60 + now.second) * 1_000_000 + now.microsecond)
    local = now.astimezone(timezone(timedelta(minutes=minutes)))
    assert ttc_seconds(now) == ttc_seconds(local) == -(-left // 1_000_000)
    assert 1 <= ttc_seconds(now) <= 3600
    assert next_market_close(local) == now + timedelta(microseconds=left)


def test_the_top_of_the_hour_belongs_to_the_next_market() -> None:
    hour = datetime(2026, 7, 1, 14, tzinfo=UTC)
    assert (ttc_seconds(hour), next_market_close(hour)) == (3600, hour + timedelta(hours=1))
    assert ttc_seconds(hour - timedelta(microseconds=1)) == 1


def _history(prices: dict[float, float], profile: Profile = Profile.SOUND) -> TickHistory:
    """Ticks at seconds relative to NOW."""
    history = TickHistory(ModelConfig(profile=profile))
    for second, price in prices.items():
        assert history.add(Tick(NOW + timedelta(seconds=second), price))
    return history


def test_ticks_a_minute_apart_give_the_momentum_of_the_bars() -> None:
    rng = np.random.default_rng(8)
    usd = np.round(100_000 + rng.normal(0, 60, 31).cumsum(), 2)
    of_bars = compute_momentum(closes_from_usd(np.arange(31, dtype=np.int64), usd), ModelConfig())
    score, bucket = _history({60.0 * (i - 30): price for i, price in enumerate(usd.tolist())}).momentum()
    assert score == pytest.approx(of_bars.score_pct[30], rel=1e-12)
    assert bucket == of_bars.buckets[30]


def test_a_lagged_price_is_the_last_at_or_before_its_instant_and_at_most_90_seconds_older() -> None:
    lags = {-1800.0: 100.0, -900.0: 100.0, -240.0: 100.0, -180.0: 100.0, -120.0: 100.0}
    score, bucket = _history({**lags, -60.0: 80.0, -59.999: 50.0, 0.0: 100.0}).momentum()
    assert score == pytest.approx(30.0 * 0.25)
    assert bucket == 30
    assert _history({-1890.0: 100.0, **dict(list(lags.items())[1:]), -60.0: 100.0, 0.0: 100.0}).momentum() == (0.0, 0)
    assert _history({-1890.001: 100.0, **dict(list(lags.items())[1:]), 0.0: 100.0}).momentum() == (None, None)


def test_momentum_is_unknown_before_half_an_hour_of_ticks() -> None:
    assert TickHistory(ModelConfig()).momentum() == (None, None)
    assert _history({10.0 * i: 100.0 for i in range(180)}).momentum() == (None, None)
    assert _history({10.0 * i: 100.0 for i in range(181)}).momentum() == (0.0, 0)


def test_a_score_beyond_the_buckets_has_none_in_source() -> None:
    jump = {-60.0 * i: 100.0 for i in range(30, 0, -1)} | {0.0: 110.0}
    assert _history(jump).momentum()[1] == 30
    assert _history(jump, Profile.SOURCE).momentum()[1] is None


def test_a_tick_that_is_not_newer_is_ignored() -> None:
    history = _history({0.0: 100.0, 5.0: 101.0})
    for second in (5.0, 4.0, -60.0):
        assert not history.add(Tick(NOW + timedelta(seconds=second), 999.0))
    assert history.latest == Tick(NOW + timedelta(seconds=5), 101.0)
    assert TickHistory(ModelConfig()).latest is None


def test_a_changed_configuration_applies_to_the_next_momentum() -> None:
    history = _history({-60.0 * i: 100.0 for i in range(30, 0, -1)} | {0.0: 110.0})
    history.use_config(ModelConfig(bucket_limit=5))
    assert history.momentum()[1] == 5


def test_the_base_strike_is_the_nearest_of_strikes_chosen_by_probability() -> None:
    strikes = np.array([94_980.0, 95_090.5, 95_120.25, 95_160.0])
    unknown = np.full(4, np.nan)
    answers = LadderAnswers(95_123.45, strikes, Reading(unknown, unknown.astype(bool), 0.0, unknown))
    assert answers.base_strike_usd(250.0) == 95_120.25
