"""One ladder on demand, straight from the database."""

from typing import Any

import numpy as np

from pipelines.domain.config import Profile
from pipelines.domain.ladder import answer_ladder, answer_ladder_from, base_strike_usd, ladder_strikes_usd, tidy
from pipelines.domain.momentum import NO_BUCKET, PERCENT_PER_UNIT, bucket_of
from pipelines.domain.naming import fingerprint_table
from pipelines.errors import SettingsError
from pipelines.storage.database import Database, Role
from pipelines.storage.generations import active_generation, read_version
from pipelines.storage.tables import read_fingerprints, read_lookup_rows


def ladder_payload(
    database: Database, symbol: str, tier_usd: float, price_usd: float, ttc_seconds: float, momentum_pct: float | None
) -> dict[str, Any]:
    """The published answers for 21 strikes, in the live file's shape as far as it applies.

    Without momentum, or outside every bucket (source profile), the baseline answers. Raises NoDataError when nothing
    is published, SettingsError for numbers that cannot be meant.
    """
    numbers = [price_usd, ttc_seconds, *([] if momentum_pct is None else [momentum_pct])]
    if not np.isfinite(numbers).all() or price_usd <= 0 or ttc_seconds < 0:
        raise SettingsError(
            "price must be positive, TTC not negative and momentum a number, "
            f"got price {price_usd}, TTC {ttc_seconds}, momentum {momentum_pct}"
        )
    strikes = ladder_strikes_usd(price_usd, tier_usd)
    with database.connect("ladder", Role.READER) as connection:
        version = read_version(connection, active_generation(connection, symbol))
        bucket = None
        if momentum_pct is not None:
            found = int(bucket_of(np.array([momentum_pct / PERCENT_PER_UNIT]), version.model_config)[0])
            bucket = None if found == NO_BUCKET else found
        if bucket is None:
            baseline = read_fingerprints(connection, version, baseline_only=True)
            answers = answer_ladder_from(
                price_usd, strikes, ttc_seconds, baseline.positive[0], baseline.negative[0], baseline.nodes,
                Profile(version.profile), float(baseline.n_eff[0].min()),
            )  # fmt: skip
        else:
            rows = read_lookup_rows(connection, version, bucket, ttc_seconds)
            answers = answer_ladder(price_usd, strikes, ttc_seconds, rows, version.axes)
    return {
        "current_price": price_usd,
        "base_strike": tidy(base_strike_usd(price_usd, tier_usd)),
        "ttc_seconds": tidy(ttc_seconds),
        "momentum_score": momentum_pct,
        "strikes": [tidy(strike) for strike in strikes.tolist()],
        "probabilities": answers.rows(),
        "fingerprint_table": fingerprint_table(symbol, bucket),
        "momentum_bucket": bucket,
        "clamped": int(answers.reading.clamped.sum()),
        "n_eff": answers.n_eff,
        "model_version": version.generation,
    }
