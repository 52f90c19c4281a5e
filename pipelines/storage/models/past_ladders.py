"""The ladder of a past minute with its outcome: the stored answer, or one computed from the bars of that time."""

from datetime import datetime, timedelta
from math import exp, isnan
from typing import Any

import numpy as np

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.configuration.names import answers_view
from pipelines.domain.markets.basis import Basis, BasisSource
from pipelines.domain.markets.question import LAST_PRICE_QUESTION, MarketQuestion
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.domain.models.base import MarketStates, Rule
from pipelines.domain.models.ladder import (
    STRIKE_STEP_SHARE,
    LadderAnswers,
    LadderQuery,
    ladder_strikes_usd,
    next_market_close,
    tidy,
)
from pipelines.domain.models.momentum import MomentumRule
from pipelines.domain.models.probability import Reading
from pipelines.domain.prices.bars import Closes, minute_of_instant
from pipelines.domain.prices.momentum import BPS_PER_UNIT, compute_momentum
from pipelines.domain.prices.ticks import EPOCH, REPLAY
from pipelines.errors import NoDataError, SettingsError
from pipelines.storage.live.answers import StoredAnswer, answer_of_minute, value_by_ticks
from pipelines.storage.models.ladders import answer, answer_fields, published_version
from pipelines.storage.models.volatility import read_volatility_state
from pipelines.storage.postgres.connection import Connection, Database, Role
from pipelines.storage.prices.history import close_at, closes_between

MINUTE = timedelta(minutes=1)


def past_ladder(
    database: Database,
    symbol: str,
    tier_usd: float,
    at: datetime,
    now: datetime,
    model: str | None = None,
    *,
    by_probability: bool = False,
) -> dict[str, Any]:
    """The ladder of the minute in which `at` lies (aware UTC, as `now`), with the fields of `ladder_payload`.

    `origin`: "stored", the answer that the live session gave in that minute, if one is stored and no `model` is named;
    otherwise "computed", by the generation published now (`built_to` may be later than `at`) from the bar that closed
    at the minute's start. `closing_price`: the value by the rule `settlement`, without the basis, of a stored answer
    that is settled; by last_price otherwise the close of the bar. `closed_at_or_above`, by strike, compares it times
    exp(basis). Both are None before the close, or where it is not known. Raises SettingsError for a time that is not
    past, NoDataError when there is neither an answer nor a bar.
    """
    minute = at.replace(second=0, microsecond=0)
    if not EPOCH <= at < now:
        raise SettingsError(f"{_text(at)} is not past: it is not between 1970 and now, {_text(now)}")
    with database.connect("ladder", Role.READER) as connection:
        stored = answer_of_minute(connection, symbol, minute) if model is None else None
        if stored is None:
            found = _computed(connection, symbol, tier_usd, minute, model, by_probability=by_probability)
        else:
            found = _stored(symbol, tier_usd, stored)
        close, closing_price = found["market_close"], found.pop("closing_price")
        if closing_price is None and close <= now:
            closing_price = _closing_price(connection, symbol, close, stored)
    basis = found["basis"]
    index_ratio = 1.0 if basis is None else exp(basis["bps"] / BPS_PER_UNIT)
    return {
        **found,
        "market_close": _text(close),
        "closing_price": closing_price,
        "closed_at_or_above": [
            None if closing_price is None else closing_price * index_ratio >= one for one in found["strikes"]
        ],
    }


def _closing_price(connection: Connection, symbol: str, close: datetime, stored: StoredAnswer | None) -> float | None:
    """The market's value in our own prices: by the ticks of a stored answer's rule, or of the last price by the bar."""
    if stored is not None:
        value = value_by_ticks(connection, symbol, close, SettlementRule(stored.settlement), stored.tick_source)
        if value is not None or stored.settlement != SettlementRule.LAST_PRICE or stored.tick_source == REPLAY:
            return value
    return close_at(connection, symbol, close - MINUTE)


def _stored(symbol: str, tier_usd: float, stored: StoredAnswer) -> dict[str, Any]:
    unknown = np.full(len(stored.strikes), np.nan)
    reading = Reading(np.array(stored.prob_beyond), np.zeros(len(unknown), dtype=np.bool_), -1.0, unknown)
    answers = LadderAnswers(stored.price, np.array(stored.strikes), reading)
    bps, at = stored.basis_bps, stored.answered_at
    basis = None if bps is None else Basis(bps, BasisSource.GIVEN, at)
    by_group = stored.sigma_pct is not None
    return {
        "at": _text(stored.answered_at),
        "origin": "stored",
        "status": stored.status,
        "market_close": stored.market_close,
        "closing_price": stored.closing_price,
        "current_price": stored.price,
        "base_strike": tidy(answers.base_strike_usd(tier_usd)),
        "ttc_seconds": stored.ttc_seconds,
        "momentum_score": None,
        "strikes": [tidy(strike) for strike in stored.strikes],
        "probabilities": answers.rows(),
        "fingerprint_table": answers_view(symbol, stored.model, stored.bucket),
        "momentum_bucket": None if by_group else stored.bucket,
        "clamped": 0,
        "n_eff": None,
        "model_version": stored.generation,
        "model": stored.model,
        "sigma": stored.sigma_pct,
        "group": stored.bucket if by_group else None,
        "thin_evidence": False,
        "intervals": answers.intervals(),
        "built_to": None,
        "quantiles": [],
        "curve": [],
        **MarketQuestion(SettlementRule(stored.settlement), basis=basis).fields(stored.answered_at),
    }


def _computed(
    connection: Connection, symbol: str, tier_usd: float, minute: datetime, model: str | None, *, by_probability: bool
) -> dict[str, Any]:
    version = published_version(connection, symbol, model)
    config = version.rule.config if isinstance(version.rule, MomentumRule) else ModelConfig()
    longest = config.momentum_lags_minutes[-1] * MINUTE
    closes = closes_between(connection, symbol, minute - longest - MINUTE, minute)
    newest = minute_of_instant(minute) - 1
    if closes is None or closes.minutes[-1] != newest:
        raise NoDataError(f"{symbol} has neither a stored answer nor a bar for {_text(minute)}: ingest its bars")
    price = float(closes.usd[-1])
    momentum = _momentum_pct(closes, config)
    states = _states(connection, symbol, version.rule, newest, momentum)
    close = next_market_close(minute)
    step_usd = tier_usd * STRIKE_STEP_SHARE if by_probability else None
    ttc = (close - minute).total_seconds()
    query = LadderQuery(version.rule, version.axes, states, price, ladder_strikes_usd(price, tier_usd), ttc, step_usd)
    answers = answer(connection, version, query)
    return {
        "at": _text(minute),
        "origin": "computed",
        "market_close": close,
        "closing_price": None,
        **answer_fields(version, query, answers, momentum, tier_usd),
        "built_to": None if version.last_bar_at is None else _text(version.last_bar_at),
        "quantiles": answers.quantiles,
        "curve": answers.curve,
        **LAST_PRICE_QUESTION.fields(minute),
    }


def _momentum_pct(closes: Closes, config: ModelConfig) -> float | None:
    score = float(compute_momentum(closes, config).score_pct[-1])
    return None if isnan(score) else round(score, 4)


def _states(connection: Connection, symbol: str, rule: Rule, minute: int, momentum_pct: float | None) -> MarketStates:
    """The market state after a minute. Raises NoDataError without its volatility."""
    if rule.volatility is None:
        return MarketStates.single(minute + 1.0, momentum_pct)
    state = read_volatility_state(connection, symbol, minute)
    if state is None:
        raise NoDataError(f"the volatility of {symbol} is not computed up to that minute: `strikecast build {symbol}`")
    return MarketStates.single(minute + 1.0, momentum_pct, state.variances)


def _text(instant: datetime) -> str:
    return instant.isoformat(timespec="seconds").replace("+00:00", "Z")
