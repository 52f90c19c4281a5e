"""Strike ladders on demand, from the database."""

from typing import Any

import numpy as np

from pipelines.domain.configuration.names import answers_view
from pipelines.domain.models.base import MarketStates
from pipelines.domain.models.ladder import LadderQuery, base_strike_usd, ladder_strikes_usd, tidy
from pipelines.domain.models.registry import model_named
from pipelines.domain.prices.momentum import PERCENT_PER_UNIT
from pipelines.errors import SettingsError
from pipelines.storage.models.champions import read_champion
from pipelines.storage.models.generations import active_generation, read_version
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
) -> dict[str, Any]:
    """The published probabilities of 21 strikes, with the applicable fields of the live file.

    `model`: by default the champion. `sigma_pct`: volatility in percent per square root of a minute, by default the
    forecast after the newest bar; ignored by models without volatility. Without momentum, the baseline or the pooled
    table is used. Raises NoDataError when nothing is published, SettingsError for invalid arguments.
    """
    _require_numbers(price_usd, ttc_seconds, momentum_pct, sigma_pct)
    strikes = ladder_strikes_usd(price_usd, tier_usd)
    with database.connect("ladder", Role.READER) as connection:
        version = read_version(connection, active_generation(connection, symbol, _model(connection, symbol, model)))
        rule = version.rule if sigma_pct is None else version.rule.with_sigma(sigma_pct / PERCENT_PER_UNIT)
        states = MarketStates.single(0.0, momentum_pct)
        if rule.volatility is not None and sigma_pct is None:
            newest = latest_volatility_state(connection, symbol)
            states = MarketStates.single(newest.minute + 1.0, momentum_pct, newest.variances)
        query = LadderQuery(rule, version.axes, states, price_usd, strikes, ttc_seconds)
        if query.bucket is None:
            answers = query.answer_from_baseline(read_fingerprints(connection, version, baseline_only=True))
        else:
            answers = query.answer_from_lookup(read_lookup_rows(connection, version, query.bucket, ttc_seconds))
    return {
        "current_price": price_usd,
        "base_strike": tidy(base_strike_usd(price_usd, tier_usd)),
        "ttc_seconds": tidy(ttc_seconds),
        "momentum_score": momentum_pct,
        "strikes": [tidy(strike) for strike in strikes.tolist()],
        "probabilities": answers.rows(),
        "fingerprint_table": answers_view(symbol, version.model, query.bucket),
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
