"""Probability files with known content."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from pipelines.domain.models.ladder import LadderAnswers, LiveState, Tick, ladder_strikes_usd, live_payload
from pipelines.domain.models.probability import Reading
from pipelines.live.probability_writer import probabilities_path

TIER_USD = 250.0


def ladder(
    price: float, at: datetime, *, price_at: datetime | None = None, problems: Sequence[str] = (), known: bool = True
) -> dict[str, Any]:
    """The payload that a session writes at an instant (aware). `known`: whether its strikes have probabilities."""
    strikes = ladder_strikes_usd(price, TIER_USD)
    beyond = 48.0 * np.exp(-np.abs(strikes - price) / (3 * TIER_USD)) if known else np.full(len(strikes), np.nan)
    reading = Reading(beyond, np.zeros(len(strikes), dtype=bool), 1_000.0, np.full(len(strikes), 500.0))
    answers = LadderAnswers(price, strikes, reading)
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
    )
    return live_payload(state, TIER_USD, answers, problems)


def write_ladder(folder: Path, symbol: str, payload: dict[str, Any]) -> None:
    """Replace a symbol's file as a session does, without being one."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{symbol}.partial"
    partial.write_bytes(orjson.dumps(payload, option=orjson.OPT_INDENT_2))
    partial.replace(probabilities_path(folder, symbol))
