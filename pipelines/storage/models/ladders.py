"""One ladder on demand, straight from the database."""

from typing import Any

import numpy as np

from pipelines.domain.configuration.model import Profile
from pipelines.domain.configuration.names import answers_view
from pipelines.domain.models.base import MarketStates, Rule
from pipelines.domain.models.ladder import (
    LadderAnswers,
    answer_ladder,
    answer_ladder_from,
    base_strike_usd,
    ladder_strikes_usd,
    tidy,
)
from pipelines.domain.models.registry import model_named
from pipelines.domain.prices.bars import SECONDS_PER_MINUTE, Floats
from pipelines.domain.prices.momentum import BPS_PER_UNIT, NO_BUCKET, PERCENT_PER_UNIT
from pipelines.domain.prices.volatility import HALF_LIVES_MINUTES
from pipelines.errors import SettingsError
from pipelines.storage.models.champions import read_champion
from pipelines.storage.models.generations import ModelVersion, active_generation, read_version
from pipelines.storage.models.tables import read_fingerprints, read_lookup_rows
from pipelines.storage.models.volatility import newest_state
from pipelines.storage.postgres.connection import Connection, Database, Role


def ladder_payload(
    database: Database,
    symbol: str,
    tier_usd: float,
    price_usd: float,
    ttc_seconds: float,
    momentum_pct: float | None,
    model: str | None = None,
    sigma_pct: float | None = None,
) -> dict[str, Any]:
    """The published answers for 21 strikes, in the live file's shape as far as it applies.

    `model`: the champion unless named. `sigma_pct`: volatility in percent per square root of a minute, by default the
    forecast after the newest bar; models without volatility do not look at it. Without momentum the baseline answers,
    or all momenta together. Raises NoDataError when nothing is published, SettingsError for what cannot be meant.
    """
    _require_numbers(price_usd, ttc_seconds, momentum_pct, sigma_pct)
    strikes = ladder_strikes_usd(price_usd, tier_usd)
    with database.connect("ladder", Role.READER) as connection:
        version = read_version(connection, active_generation(connection, symbol, _model(connection, symbol, model)))
        rule = version.rule if sigma_pct is None else version.rule.with_sigma(sigma_pct / PERCENT_PER_UNIT)
        states = _states(connection, symbol, rule, momentum_pct, given=sigma_pct is not None)
        bucket = int(rule.buckets(states)[0])
        answers = _answers(connection, version, rule, states, bucket, price_usd, strikes, ttc_seconds)
    sigma = rule.sigma(states, ttc_seconds / SECONDS_PER_MINUTE)
    bucket_or_baseline = None if bucket == NO_BUCKET else bucket
    return {
        "current_price": price_usd,
        "base_strike": tidy(base_strike_usd(price_usd, tier_usd)),
        "ttc_seconds": tidy(ttc_seconds),
        "momentum_score": momentum_pct,
        "strikes": [tidy(strike) for strike in strikes.tolist()],
        "probabilities": answers.rows(),
        "fingerprint_table": answers_view(symbol, version.model, bucket_or_baseline),
        "momentum_bucket": bucket_or_baseline if sigma is None else None,
        "clamped": int(answers.reading.clamped.sum()),
        "n_eff": answers.n_eff,
        "model_version": version.generation,
        "model": version.model,
        "sigma": None if sigma is None else round(float(sigma[0]) * PERCENT_PER_UNIT, 6),
        "group": None if sigma is None else bucket,
        "thin_evidence": answers.thin,
        "intervals": answers.intervals(),
    }


def _require_numbers(price_usd: float, ttc_seconds: float, momentum_pct: float | None, sigma_pct: float | None) -> None:
    given = [price_usd, ttc_seconds, *(value for value in (momentum_pct, sigma_pct) if value is not None)]
    if not np.isfinite(given).all() or price_usd <= 0 or ttc_seconds < 0 or (sigma_pct is not None and sigma_pct <= 0):
        raise SettingsError(
            "price and sigma must be positive, TTC not negative and momentum a number, "
            f"got price {price_usd}, TTC {ttc_seconds}, momentum {momentum_pct}, sigma {sigma_pct}"
        )


def _model(connection: Connection, symbol: str, named: str | None) -> str:
    if named is None:
        return read_champion(connection, symbol).champion
    try:
        return model_named(named).name
    except ValueError as error:
        raise SettingsError(str(error)) from error


def _states(
    connection: Connection, symbol: str, rule: Rule, momentum_pct: float | None, *, given: bool
) -> MarketStates:
    """What is known after the newest bar, with the momentum that was given."""
    score = np.array([np.nan if momentum_pct is None else momentum_pct / PERCENT_PER_UNIT])
    variances = np.full((len(HALF_LIVES_MINUTES), 1), np.nan)
    if rule.volatility is None or given:
        return MarketStates(np.zeros(1), score, variances)
    state = newest_state(connection, symbol)
    return MarketStates(np.array([state.minute + 1.0]), score, np.array(state.variances)[:, None])


def _answers(
    connection: Connection,
    version: ModelVersion,
    rule: Rule,
    states: MarketStates,
    bucket: int,
    price_usd: float,
    strikes: Floats,
    ttc_seconds: float,
) -> LadderAnswers:
    if bucket == NO_BUCKET:
        baseline = read_fingerprints(connection, version, baseline_only=True)
        return answer_ladder_from(
            price_usd,
            strikes,
            ttc_seconds,
            baseline.positive[0],
            baseline.negative[0],
            baseline.nodes,
            Profile(version.profile),
            float(baseline.n_eff[0].min()),
        )
    rows = read_lookup_rows(connection, version, bucket, ttc_seconds)
    positions = rule.positions(
        states, ttc_seconds / SECONDS_PER_MINUTE, (strikes - price_usd) / price_usd * BPS_PER_UNIT
    )
    return answer_ladder(price_usd, strikes, ttc_seconds, rows, version.axes, positions[0])
