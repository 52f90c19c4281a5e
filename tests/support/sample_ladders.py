"""Probability files with known content."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from pipelines.domain.models.distribution import Distribution, prices_around
from pipelines.domain.models.ladder import LadderAnswers, LiveState, Tick, ladder_strikes_usd, live_payload
from pipelines.domain.models.probability import Reading
from pipelines.domain.prices.bars import Floats
from pipelines.live.probability_writer import probabilities_path

TIER_USD = 250.0


def ladder(
    price: float,
    at: datetime,
    *,
    price_at: datetime | None = None,
    problems: Sequence[str] = (),
    known: bool = True,
    source: str = "test",
    replayed_at: datetime | None = None,
) -> dict[str, Any]:
    """The payload that a session writes at an instant (aware). `known`: whether its strikes have probabilities."""
    strikes = ladder_strikes_usd(price, TIER_USD)

    def read(prices: Floats) -> Reading:
        beyond = 48.0 * np.exp(-np.abs(prices - price) / (3 * TIER_USD)) if known else np.full(len(prices), np.nan)
        return Reading(beyond, np.zeros(len(prices), dtype=bool), 1_000.0, np.full(len(prices), 500.0))

    distribution = Distribution.of(price, prices_around(price), read(prices_around(price)))
    curve = distribution.curve_rows()
    answers = LadderAnswers(price, strikes, read(strikes), distribution.quantile_rows(), curve)
    state = LiveState(
        now=at,
        tick=Tick(price_at or at, price),
        momentum_score_pct=0.0123,
        momentum_bucket=1,
        fingerprint_table="standardised_lookup_cell",
        generation=7,
        model="standardised",
        sigma_pct=0.0512,
        group=5,
        source=source,
        replayed_at=replayed_at,
    )
    return live_payload(state, TIER_USD, answers, problems)


def write_ladder(folder: Path, symbol: str, payload: dict[str, Any]) -> None:
    """Replace a symbol's file as a session does, without being one."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{symbol}.partial"
    partial.write_bytes(orjson.dumps(payload, option=orjson.OPT_INDENT_2))
    partial.replace(probabilities_path(folder, symbol))
