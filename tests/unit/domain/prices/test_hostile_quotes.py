"""Any quotes in any order: whatever is accepted can be answered, and is as large and as old as it says."""

from datetime import UTC, datetime, timedelta

import orjson
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.models.ladder import LadderAnswers, LiveState, ladder_strikes_usd, live_payload
from pipelines.domain.prices.outliers import MAX_PRICE_USD, MIN_PRICE_USD, OUTLIER_CHANGE, OutlierFilter
from pipelines.domain.prices.ticks import MAX_DELAY, MILLISECOND, Quote, QuoteValidator, TickHistory

NOW = datetime(2026, 7, 1, 13, 30, tzinfo=UTC)
#: Prices around a level, with single digits and powers that are wrong, and any float.
PRICES = st.one_of(
    st.floats(90_000, 100_000),
    st.floats(),
    st.sampled_from([0.0, -1.0, 1.0, 2.0**63, 2.0**64, 1e308, 5e-324, MIN_PRICE_USD, MAX_PRICE_USD, 95_000e-8]),
)
INSTANTS = st.one_of(
    st.none(),
    st.floats(-60, 60).map(lambda seconds: NOW + timedelta(seconds=seconds)),
    st.datetimes(timezones=st.just(UTC)),
)


@examples(200, 20_000)
@given(
    st.one_of(st.none(), st.just(95_000.0)),
    st.lists(st.tuples(PRICES, INSTANTS, st.floats(0, 120)), max_size=30),
    st.sampled_from([1e-6, 0.25, 250.0, 1e6]),
)
def test_what_is_accepted_can_be_answered(
    start_usd: float | None, quotes: list[tuple[float, datetime | None, float]], tier_usd: float
) -> None:
    validator, history = QuoteValidator(outliers=OutlierFilter(start_usd)), TickHistory(ModelConfig())
    now, refused, level_usd = NOW, 0, start_usd
    for price, quoted_at, seconds in quotes:
        now += timedelta(seconds=seconds)
        tick = validator.validate(Quote("BTC", price, quoted_at), now)
        if tick is None:
            refused += 1
            continue
        if level_usd is not None and abs(tick.price_usd / level_usd - 1) > OUTLIER_CHANGE:
            assert refused >= 2, "an outlier is confirmed twice"
            refused = 0
        # Of two ticks at one instant the second is not kept, but it is the level of the next.
        level_usd, before = tick.price_usd, history.latest
        if not history.add(tick):
            assert before is not None
            assert tick.at - before.at < MILLISECOND, "a tick of the same millisecond is not kept"
            continue
        assert MIN_PRICE_USD <= tick.price_usd <= MAX_PRICE_USD
        assert now - MAX_DELAY <= tick.at <= now + timedelta(seconds=len(quotes))
        strikes = ladder_strikes_usd(tick.price_usd, tier_usd)
        state = LiveState(now, tick, *history.momentum(), None, None)
        payload = live_payload(state, tier_usd, LadderAnswers.unknown(tick.price_usd, strikes), [])
        assert orjson.loads(orjson.dumps(payload))["current_price"] == tick.price_usd
