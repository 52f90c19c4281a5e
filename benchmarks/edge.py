"""Mid, model, pool and climatology on the recorded hourly BTC ladders; writes a table of docs/models.md.

`python -m benchmarks.edge --markets FOLDER [--prices FOLDER] [--write]` takes about 15 s. The folder of recorded quotes
is by default $STRIKECAST_REAL_DATA/markets. `strikecast edge BTC` prints the same scores of imported recordings.
"""

import time
from collections.abc import Iterator, Sequence

from benchmarks.settlement import Recordings, candles, shown
from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.evaluation.edge import (
    Dimension,
    EdgeScore,
    Estimate,
    Forecaster,
    decision,
    edge_scores,
    forecasts,
)
from pipelines.domain.evaluation.replay import quotes_with_bars
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.domain.models.standardised import StandardisedModel

MARKERS = "<!-- edge: begin -->", "<!-- edge: end -->"
GROUPS = {
    Dimension.TTC: "minutes to the close",
    Dimension.SPREAD: "cents between bid and ask",
    Dimension.VOLATILITY: "fifth by volatility, 1 the calmest",
}


def overall_lines(scores: Sequence[EdgeScore]) -> Iterator[tuple[str, ...]]:
    yield (
        "forecaster",
        "Brier",
        "log loss",
        "Brier minus the mid, by event",
        "by day",
        "log loss minus the mid, by event",
    )
    for score in scores:
        if score.dimension is Dimension.ALL:
            values = (str(score.forecaster), f"{score.brier.value:.4f}", f"{score.log_loss.value:.4f}")
            if score.forecaster is Forecaster.MID:
                yield *values, "", "", ""
            else:
                brier, log_loss = score.brier_difference, score.log_loss_difference
                yield *values, by_event(brier), "" if brier.by_day is None else shown(brier.by_day), by_event(log_loss)


def group_lines(scores: Sequence[EdgeScore]) -> Iterator[tuple[str, ...]]:
    yield "quotes", "number", "events", "Brier of the mid", "model minus the mid", "pool minus the mid"
    of = {(score.dimension, score.level, score.forecaster): score for score in scores}
    for dimension, level, forecaster in of:
        if dimension in GROUPS and forecaster is Forecaster.MID:
            mid, model, pool = (of[dimension, level, each] for each in (forecaster, Forecaster.MODEL, Forecaster.POOL))
            counts = (f"{GROUPS[dimension]}: {level}", f"{mid.quotes:,}", str(mid.events), f"{mid.brier.value:.4f}")
            yield *counts, by_event(model.brier_difference), by_event(pool.brier_difference)


def by_event(estimate: Estimate) -> str:
    return f"{estimate.value:+.4f}" if estimate.by_event is None else shown(estimate.by_event)


def table(lines: Iterator[tuple[str, ...]]) -> str:
    header = next(lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *lines))


def main() -> None:
    """Measure, print, and with --write put the tables into the page."""
    recordings = Recordings.chosen("edge", __doc__)
    started = time.perf_counter()
    quotes = quotes_with_bars(recordings.history, candles(recordings.folder))
    found = forecasts(recordings.history, quotes, SettlementRule.MEAN_60S, StandardisedModel(), ModelConfig())
    scores = edge_scores(found)
    took = time.perf_counter() - started
    first, pool = scores[0], decision(scores)
    text = (
        f"{first.quotes:,} quotes of {first.events} events that close on {first.days} days, scored in {took:.1f} s (to "
        f"reach: under 60 s); the {pool.name} is served: {pool.reason} (to reach: -0.0012 or better, clear of zero)."
    )
    recordings.report("\n\n".join([table(overall_lines(scores)), table(group_lines(scores)), text]), MARKERS)


if __name__ == "__main__":
    main()
