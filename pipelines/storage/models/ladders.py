"""Strike ladders on demand, from the database."""

from datetime import UTC, datetime
from typing import Any

import numpy as np

from pipelines.domain.configuration.names import answers_view
from pipelines.domain.markets.basis import Basis, BasisSource
from pipelines.domain.markets.question import LAST_PRICE_QUESTION, MarketQuestion, without_basis
from pipelines.domain.markets.settlement import VALUES, KnownValues, SettlementRule, open_values
from pipelines.domain.models.base import MarketStates
from pipelines.domain.models.ladder import STRIKE_STEP_SHARE, LadderAnswers, LadderQuery, ladder_strikes_usd, tidy
from pipelines.domain.models.registry import model_named
from pipelines.domain.prices.momentum import PERCENT_PER_UNIT
from pipelines.domain.prices.volatility import MAX_STATE_AGE
from pipelines.errors import NoDataError, SettingsError
from pipelines.storage.models.champions import read_champion
from pipelines.storage.models.generations import ModelVersion, active_generation, read_version
from pipelines.storage.models.tables import read_fingerprints, read_lookup_rows
from pipelines.storage.models.volatility import latest_volatility_state
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
    now: datetime | None = None,
    *,
    by_probability: bool = False,
    question: MarketQuestion = LAST_PRICE_QUESTION,
) -> dict[str, Any]:
    """The published probabilities of a ladder's strikes, with the applicable fields of the live file.

    `model`: by default the champion. `sigma_pct`: volatility in percent per square root of a minute, by default the
    forecast after the newest bar; ignored by models without volatility. Without momentum, the baseline or the pooled
    table is used. `now` (aware): the time of the question, for the age of the volatility; None: that of the newest bar.
    `by_probability`: strikes are chosen by probability, otherwise 21 are `tier_usd` apart. `question`: what the market
    asks of the price.
    Raises NoDataError when nothing is published or volatility is older than MAX_STATE_AGE, SettingsError for invalid
    arguments and for a TTC beyond the model's horizon.
    """
    _require_numbers(price_usd, ttc_seconds, momentum_pct, sigma_pct)
    strikes = ladder_strikes_usd(price_usd, tier_usd)
    with database.connect("ladder", Role.READER) as connection:
        version = published_version(connection, symbol, model)
        if ttc_seconds > version.ttc_max_seconds:
            raise SettingsError(
                f"TTC {ttc_seconds:g} s is beyond the horizon of {version.model}, {version.ttc_max_seconds} s"
            )
        rule = version.rule if sigma_pct is None else version.rule.with_sigma(sigma_pct / PERCENT_PER_UNIT)
        states, state_at = MarketStates.single(0.0, momentum_pct), None
        if rule.volatility is not None and sigma_pct is None:
            newest = latest_volatility_state(connection, symbol)
            states = MarketStates.single(newest.minute + 1.0, momentum_pct, newest.variances)
            state_at = datetime.fromtimestamp((newest.minute + 1) * 60, UTC)
            if now is not None and now - state_at > MAX_STATE_AGE:
                raise NoDataError(
                    f"the volatility of {symbol} is that of {state_at:%Y-%m-%d %H:%M} UTC, more than "
                    f"{MAX_STATE_AGE.total_seconds() / 3600:g} h old: ingest newer bars and run `strikecast build "
                    f"{symbol}`, or give --sigma"
                )
        step_usd = tier_usd * STRIKE_STEP_SHARE if by_probability else None
        query = LadderQuery(rule, version.axes, states, price_usd, strikes, ttc_seconds, step_usd, question.settlement)
        answers = answer(connection, version, query)
    return {
        **answer_fields(version, query, answers, momentum_pct, tier_usd),
        "volatility_timestamp": None if state_at is None else state_at.isoformat().replace("+00:00", "Z"),
        "volatility_age_seconds": None if state_at is None or now is None else int((now - state_at).total_seconds()),
        "built_to": None if version.last_bar_at is None else version.last_bar_at.isoformat().replace("+00:00", "Z"),
        "quantiles": answers.quantiles,
        "curve": answers.curve,
        **question.fields(datetime.now(UTC) if now is None else now),
    }


def current_question(
    rule: SettlementRule | str,
    price_usd: float,
    ttc_seconds: float,
    known_mean_usd: float | None,
    basis_bps: float | None,
    now: datetime,
) -> MarketQuestion:
    """What a market that settles by `rule` asks `ttc_seconds` before its close, at `now` (aware UTC).

    `known_mean_usd`: mean of the last minute so far, by default the price; `basis_bps`: of the index over the price.
    Raises SettingsError for invalid arguments, and for those that the rule does not use.
    """
    _require_numbers(price_usd, ttc_seconds, known_mean_usd, None)
    given = [value for value in (known_mean_usd, basis_bps) if value is not None]
    try:
        rule = SettlementRule(rule)
    except ValueError:
        raise SettingsError(f"settlement must be one of {', '.join(SettlementRule)}, not {rule!r}") from None
    if rule is SettlementRule.LAST_PRICE:
        if given:
            raise SettingsError(f"a known mean and a basis belong to {SettlementRule.MEAN_60S}, not to {rule}")
        return LAST_PRICE_QUESTION
    if not np.isfinite(given).all() or (known_mean_usd is not None and known_mean_usd <= 0):
        raise SettingsError(f"known mean must be positive, and basis a number, got {known_mean_usd!r}, {basis_bps!r}")
    due, warnings, known = VALUES - open_values(ttc_seconds), [], None
    if due:
        known = KnownValues(due, 0, price_usd if known_mean_usd is None else known_mean_usd)
        if known_mean_usd is None:
            warnings.append(f"the mean of the {due} values that are known is taken to be the price: give it")
    basis = None if basis_bps is None else Basis(basis_bps, BasisSource.GIVEN, now)
    if basis is None:
        warnings.append(without_basis("none was given"))
    return MarketQuestion(rule, known, basis, tuple(warnings))


def answer(connection: Connection, version: ModelVersion, query: LadderQuery) -> LadderAnswers:
    """The answers of a published generation, from its lookup or its baseline."""
    if query.bucket is None:
        return query.answer_from_baseline(read_fingerprints(connection, version, baseline_only=True))
    return query.answer_from_lookup(read_lookup_rows(connection, version, query.bucket, query.effective_seconds))


def answer_fields(
    version: ModelVersion, query: LadderQuery, answers: LadderAnswers, momentum_pct: float | None, tier_usd: float
) -> dict[str, Any]:
    """The fields of the live file that depend on the question and its answers."""
    return {
        "current_price": query.price_usd,
        "base_strike": tidy(answers.base_strike_usd(tier_usd)),
        "ttc_seconds": tidy(query.ttc_seconds),
        "momentum_score": momentum_pct,
        "strikes": [tidy(strike) for strike in answers.strikes_usd.tolist()],
        "probabilities": answers.rows(),
        "fingerprint_table": answers_view(version.symbol, version.model, query.bucket),
        "momentum_bucket": query.bucket if query.sigma_pct is None else None,
        "clamped": int(answers.reading.clamped.sum()),
        "n_eff": answers.n_eff,
        "model_version": version.generation,
        "model": version.model,
        "sigma": None if query.sigma_pct is None else round(query.sigma_pct, 6),
        "group": None if query.sigma_pct is None else query.bucket,
        "thin_evidence": answers.thin,
        "intervals": answers.intervals(),
    }


def _require_numbers(price_usd: float, ttc_seconds: float, momentum_pct: float | None, sigma_pct: float | None) -> None:
    given = [price_usd, ttc_seconds, *(value for value in (momentum_pct, sigma_pct) if value is not None)]
    try:
        finite = bool(np.isfinite(given).all())
    except TypeError:  # from Python, whose types nothing checks
        finite = False
    if not finite or price_usd <= 0 or ttc_seconds < 0 or (sigma_pct is not None and sigma_pct <= 0):
        raise SettingsError(
            "price and sigma must be positive numbers, TTC not negative and momentum a number, "
            f"got price {price_usd!r}, TTC {ttc_seconds!r}, momentum {momentum_pct!r}, sigma {sigma_pct!r}"
        )


def published_version(connection: Connection, symbol: str, model: str | None) -> ModelVersion:
    """The published generation of a model, by default of the champion. Raises NoDataError, SettingsError."""
    try:
        name = read_champion(connection, symbol).champion if model is None else model_named(model).name
    except ValueError as error:
        raise SettingsError(str(error)) from error
    return read_version(connection, active_generation(connection, symbol, name))
