"""Decisions of the paper desk, and its backtest of the recorded hourly BTC ladders; variants for docs/desk-backtest.md.

`python -m benchmarks.desk --markets FOLDER [--prices FOLDER] [--write]` takes about a minute. The folder of recorded
quotes is by default $STRIKECAST_REAL_DATA/markets. The yardstick of decisions is the same step without markets; that of
the backtest is the replay of the model alone.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np

from benchmarks.models import ROOT
from benchmarks.results import Result, machine, percentiles_ms, print_and_save, replace_between_markers
from benchmarks.settlement import CANDLES, Recordings
from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.desk.desk import apply
from pipelines.domain.desk.inputs import BoardInput, MarketInput
from pipelines.domain.desk.rules import DeskRules, Exit, Served
from pipelines.domain.desk.state import DeskState
from pipelines.domain.evaluation.desk_backtest import Assumptions, DeskRecording
from pipelines.domain.evaluation.desk_quotes import DeskMarkets, model_probabilities
from pipelines.domain.evaluation.edge import Estimate
from pipelines.domain.evaluation.recorded_quotes import Candles
from pipelines.domain.markets.books import Quote
from pipelines.domain.markets.contracts import Market, MarketStatus
from pipelines.domain.markets.fees import FeeTerms
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.domain.models.standardised import StandardisedModel
from pipelines.evaluation.desk_runs import ReplayedSeries, SeriesBacktest, backtest
from pipelines.ingestion.markets.recordings import read_recording

PAGE = ROOT / "docs" / "desk-backtest.md"
MARKERS = "<!-- variants: begin -->", "<!-- variants: end -->"
BOARD_MARKETS = 21
SERIES = ("KXBTCD", "KXETHD")
SECONDS = 3_000
#: Share of quotes that are worth an entry.
ENTRIES = 0.005
MOST_MS, MOST_SECONDS = 2.0, 30.0
RULES = DeskRules(interval_share=Decimal(0), min_independent=0)
POOL = replace(RULES, probability=Served.POOL)
#: All that were tried; none is left out.
VARIANTS = {
    "the default rules: the pool once it is served": RULES,
    "the pool from the first day": POOL,
    "the same, least edge 1 cent": replace(POOL, min_edge_usd=Decimal("0.01")),
    "the same, least edge 3 cents": replace(POOL, min_edge_usd=Decimal("0.03")),
    "the same, least edge 5 cents": replace(POOL, min_edge_usd=Decimal("0.05")),
    "the same, spread of 3 cents at most": replace(POOL, max_spread_usd=Decimal("0.03")),
    "the same, three positions per event": replace(POOL, positions_per_event=3),
    "the same, sold at the bid when it is 2 cents above": replace(POOL, exit=Exit.EDGE),
    "the same, orders 61 s late": replace(POOL, latency_seconds=Decimal(61), order_seconds=Decimal(150)),
    "the same, in the last 15 minutes only": replace(POOL, max_ttc_seconds=900),
}


def board(second: int, series: str, random: np.random.Generator) -> BoardInput:
    """A ladder of 21 markets with quotes of the second, of which one in two hundred is worth an entry."""
    at = datetime(2026, 1, 5, 12, tzinfo=UTC) + timedelta(seconds=second)
    closes_at = datetime(2026, 1, 5, 13, tzinfo=UTC)
    markets = []
    for number, moved in enumerate(random.integers(-1, 2, size=BOARD_MARKETS).tolist()):
        asked = 92 - 4 * number + moved
        bid, ask = Decimal(asked - 2) / 100, Decimal(asked) / 100
        quotes = (Quote(price, Decimal(50)) for price in (bid, ask, 1 - ask, 1 - bid))
        believed = (asked - 1) / 100 + (0.06 if random.random() < ENTRIES else random.normal(0, 0.005))
        probability = Decimal(f"{believed:.6f}")
        interval = probability - Decimal("0.02"), probability + Decimal("0.02")
        ticker = f"{series}-26JAN0513-T{number}"
        markets.append(MarketInput(ticker, MarketStatus.ACTIVE, at, *quotes, probability, *interval, 400))
    symbol = series[2:5]
    return BoardInput(at, symbol, series, f"{series}-26JAN0513", closes_at, FeeTerms(), tuple(markets))


def decision_times() -> tuple[list[float], list[float], list[float]]:
    """Seconds of each step of two boards with 21 markets each, their CPU time, and that of boards without markets."""
    random = np.random.default_rng(1)
    shown = [[board(second, series, random) for series in SERIES] for second in range(SECONDS)]
    empty = [[replace(one, markets=()) for one in each] for each in shown]
    found: list[list[float]] = []
    for boards in (shown, empty):
        state = DeskState.opened("benchmark", DeskRules(), boards[0][0].at)
        times: list[float] = []
        cpu_times: list[float] = []
        for each in boards:
            started, cpu_started = time.perf_counter(), time.thread_time()
            for one in each:
                apply(state, one)
            cpu_times.append(time.thread_time() - cpu_started)
            times.append(time.perf_counter() - started)
        found += [times, cpu_times]
    return found[0], found[1], found[3]


def replayed(recordings: Recordings, markets: list[Market], candles: Candles) -> ReplayedSeries:
    """The recording with the model's probability at each quote."""
    found, rule = DeskMarkets(markets), SettlementRule.MEAN_60S
    quotes = found.quotes(candles).with_bars(recordings.history)
    by_model = model_probabilities(recordings.history, quotes, rule, StandardisedModel(), ModelConfig())
    terms = dict.fromkeys((market.event_ticker for market in markets), FeeTerms())
    recording = DeskRecording("BTC", markets, quotes, terms)
    return ReplayedSeries("kalshi", rule, "standardised", recording, by_model, found.left_out, (), len(terms))


def lines(found: dict[str, SeriesBacktest]) -> Iterator[tuple[str, ...]]:
    """A row per variant, in the order in which they were written down."""
    yield (
        "variant",
        "trades",
        "contracts",
        "gain, USD",
        "95 % by event",
        "95 % by day",
        "per contract",
        "expected at the signals",
        "drawdown, USD",
    )
    for name, one in found.items():
        report = one.report
        counts = (f"{report.trades:,}", f"{report.contracts.normalize():,f}")
        if report.gain is None or report.per_contract is None:
            yield name, *counts, "", "", "", "", "", ""
            continue
        per_contract = f"{report.per_contract.value:+.3f} [{ends(report.per_contract, 3)[0]}]"
        expected = f"{report.expected_per_contract:+.3f}"
        gains = (f"{report.gain.value:+.2f}", *ends(report.gain, 2))
        yield name, *counts, *gains, per_contract, expected, f"{report.max_drawdown_usd:.2f}"


def ends(estimate: Estimate, decimals: int) -> tuple[str, str]:
    """Both intervals."""
    low_and_high = (
        "none" if one is None else f"{one.low:+.{decimals}f}, {one.high:+.{decimals}f}"
        for one in (estimate.by_event, estimate.by_day)
    )
    by_event, by_day = low_and_high
    return by_event, by_day


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """As Markdown."""
    header, *others = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ("---",) * len(header), *others))


def main() -> None:
    """Measure, print and save; with --write put the variants into the page."""
    recordings = Recordings.chosen("desk", __doc__)
    with_markets, of_cpu, without = (percentiles_ms(times) for times in decision_times())
    markets, candles = read_recording(recordings.folder / CANDLES).markets_and_candles()
    started, cpu_started = time.perf_counter(), time.process_time()
    series = replayed(recordings, markets, candles)
    model_seconds = time.perf_counter() - started
    backtest(series, RULES, Assumptions())
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    results = [
        Result(
            f"decisions for {len(SERIES)} x {BOARD_MARKETS} markets, {SECONDS:,} steps",
            f"p95 {with_markets['p95_ms']:.2f} ms, of CPU time {of_cpu['p95_ms']:.2f} ms",
            f"without markets p95 {without['p95_ms']:.2f} ms of CPU time",
            f"p95 under {MOST_MS:.0f} ms",
            with_markets["p95_ms"] < MOST_MS,
            with_markets | {f"cpu_{name}": value for name, value in of_cpu.items()},
        ),
        Result(
            f"backtest of {len(candles.markets):,} candles, {len(series.recording.quotes):,} of them shown",
            f"{seconds:.1f} s, of CPU time {cpu_seconds:.1f} s",
            f"replay of the model {model_seconds:.1f} s",
            f"under {MOST_SECONDS:.0f} s",
            seconds < MOST_SECONDS,
            {"seconds": seconds, "cpu_seconds": cpu_seconds, "model_seconds": model_seconds},
        ),
    ]
    print_and_save(results, "yardstick in the same run", ROOT / ".benchmarks" / "desk.json", str(recordings.folder))
    found = {name: backtest(series, rules, Assumptions()) for name, rules in VARIANTS.items()}
    text = table(list(lines(found)))
    text += f"\n\n{len(VARIANTS)} variants tried, all of them shown; no interval is corrected for that."
    text += f"\n\nMeasured on: {', '.join(f'{name} {value}' for name, value in machine().items())}."
    print(f"\n{text}")
    if recordings.write:
        replace_between_markers(PAGE, MARKERS, text)


if __name__ == "__main__":
    main()
