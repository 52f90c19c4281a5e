"""The settlement rule and the basis on recorded quotes; writes the table of docs/models.md.

`python -m benchmarks.settlement --markets FOLDER [--prices FOLDER] [--write]` takes about a minute. The folder of
recorded quotes is by default $STRIKECAST_REAL_DATA/markets.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.models import PAGE, ROOT, history_of
from benchmarks.price_files import VARIABLE, add_prices_option, chosen_prices
from benchmarks.results import machine, replace_between_markers
from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.evaluation.block_bootstrap import brier_difference
from pipelines.domain.evaluation.index_errors import spread_ratios
from pipelines.domain.evaluation.recorded_quotes import Candles, RecordedQuotes, SettledMarkets
from pipelines.domain.evaluation.replay import quotes_with_bars, replay
from pipelines.domain.evaluation.scoring import Bools, Interval
from pipelines.domain.markets.basis import QuotedBasis
from pipelines.domain.markets.contracts import Market, MarketResult, MarketStatus, StrikeType
from pipelines.domain.markets.pool import pooled_with
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.domain.models.standardised import StandardisedModel
from pipelines.domain.prices.bars import SECONDS_PER_MINUTE, Floats
from pipelines.domain.prices.history import MarketHistory
from pipelines.ingestion.markets.recordings import read_recording

MARKERS = "<!-- settlement: begin -->", "<!-- settlement: end -->"
CANDLES, TICKS = "kxbtcd_hourly_1m_2025-04", "kxbtcd_hourly_ticks_2025-05"
INDEX = "kxbtcd_hourly_book_brti_2025-05-14/KXBTCD-25MAY1323.parquet"
MAX_INDEX_AGE_SECONDS = 10
HALF_LIVES_MINUTES = (60, 240, 480)
LAST_EVENTS = 194


def candles(folder: Path) -> RecordedQuotes:
    """Closes of minute candles; a candle's time is the end of its minute."""
    markets, found = read_recording(folder / CANDLES).markets_and_candles()
    return SettledMarkets(markets).quotes(found)


def ticks(folder: Path) -> RecordedQuotes:
    """The last update of each market before the end of each minute, from its first to its last."""
    markets = pl.read_csv(folder / TICKS / "markets.csv").select(
        "market_ticker",
        "result",
        pl.col("close_time_iso").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC").alias("close_time"),
        strike="strike_price",
    )
    updates = pl.read_parquet(folder / TICKS / "ticks.parquet").sort("ts")
    minutes = updates.group_by("market_ticker").agg(
        pl.datetime_range(pl.col("ts").min().dt.truncate("1m") + timedelta(minutes=1), pl.col("ts").max(), "1m").alias(
            "at"
        )
    )
    quotes = (
        minutes.explode("at")
        .drop_nulls()
        .sort("at")
        .join_asof(updates, left_on="at", right_on="ts", by="market_ticker", check_sortedness=False)
        .select(
            "market_ticker",
            "at",
            pl.col("yes_bid_price_cents").fill_null(0).alias("bid"),
            pl.col("yes_ask_price_cents").fill_null(100).alias("ask"),
        )
    )
    return recorded(quotes, markets)


def recorded(quotes: pl.DataFrame, markets: pl.DataFrame) -> RecordedQuotes:
    """The quotes that count for scores; cents."""
    contracts = [
        Market(
            row["market_ticker"],
            row["market_ticker"].rpartition("-")[0],
            "KXBTCD",
            StrikeType.GREATER,
            Decimal(str(row["strike"])),
            None,
            row["close_time"] - timedelta(hours=1),
            row["close_time"],
            (),
            MarketStatus.FINALIZED,
            MarketResult(row["result"]) if row["result"] else None,
        )
        for row in markets.iter_rows(named=True)
    ]
    frame = quotes.join(markets.with_row_index("number"), on="market_ticker")
    bids, asks = ((frame[side] / 100.0).to_numpy() for side in ("bid", "ask"))
    numbers, instants = frame["number"].cast(pl.Int64).to_numpy(), frame["at"].dt.epoch("s").to_numpy() // 60
    # A book stands until its next update.
    return SettledMarkets(contracts).quotes(Candles(numbers, instants, bids, asks))


def index_values(folder: Path) -> Floats:
    """Index values on a grid of seconds, NaN where the last one is too old."""
    frame = pl.read_parquet(folder / INDEX).filter(pl.col("product") == "BRTI").sort("timestamp")
    at, values = frame["timestamp"].dt.epoch("s").to_numpy(), frame["price"].to_numpy()
    grid = np.arange(at[0], at[-1] + 1)
    newest = np.searchsorted(at, grid, side="right") - 1
    return np.where(grid - at[newest] <= MAX_INDEX_AGE_SECONDS, values[newest], np.nan)


def shown(found: Interval) -> str:
    return f"{found.estimate:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


class Scores:
    """The model's readings of recorded quotes: fitted before the recording, its tables updated at each day's start."""

    def __init__(self, history: MarketHistory, quotes: RecordedQuotes) -> None:
        self.quotes = quotes_with_bars(history, quotes)
        self.days = list(replay(history, self.quotes, StandardisedModel(), ModelConfig()))
        none = [np.zeros((1, 1))] * len(self.days)
        self.last_price = self.probabilities(SettlementRule.LAST_PRICE, none)
        self.mean = self.probabilities(SettlementRule.MEAN_60S, none)
        self.bases = {minutes: self.quoted_bases(minutes) for minutes in HALF_LIVES_MINUTES}
        self.with_basis = {
            minutes: self.probabilities(SettlementRule.MEAN_60S, bases) for minutes, bases in self.bases.items()
        }

    def probabilities(self, rule: SettlementRule, bases_bps: Sequence[Floats]) -> Floats:
        """P(yes) of each quote; `bases_bps`: of each day."""
        each = zip(self.days, bases_bps, strict=True)
        return np.concatenate([day.probabilities(rule, bases)[:, 0] for day, bases in each])

    def quoted_bases(self, half_life_minutes: int) -> list[Floats]:
        """The basis by earlier quotes, of each day."""
        quoted = QuotedBasis(timedelta(minutes=half_life_minutes))
        return [day.quoted_bases(SettlementRule.MEAN_60S, quoted)[:, None] for day in self.days]

    def difference(self, probabilities: Floats, reference: Floats, rows: Bools) -> Interval:
        """Brier difference over some of the quotes, events resampled."""
        outcomes, events = self.quotes.outcomes[rows], self.quotes.events[rows]
        return brier_difference(probabilities[rows], reference[rows], outcomes, events)

    def lines(self, title: str, goal: str = "", last: int = 0) -> list[tuple[str, str, str]]:
        """Brier differences to the mid, of all events or the last ones: (what, goal, measured)."""
        numbers = np.unique(self.quotes.events)[-last:]
        rows = np.isin(self.quotes.events, numbers)
        mids, best = self.quotes.mids, self.with_basis[480]
        brier = float(np.mean((mids - self.quotes.outcomes)[rows] ** 2))
        measured = [
            ("last price, no basis", "", self.last_price),
            ("mean of 60 s, no basis", "", self.mean),
            ("mean of 60 s, basis by quotes with a half-life of 60 min", "", self.with_basis[60]),
            ("mean of 60 s, basis by quotes with a half-life of 240 min", "", self.with_basis[240]),
            ("**mean of 60 s, basis by quotes with a half-life of 480 min**", goal, best),
            ("the same, pooled with the mid", "", pooled_with(mids, best)),
            ("last price, no basis, pooled with the mid", "", pooled_with(mids, self.last_price)),
        ]
        return [
            (f"{title}: {rows.sum():,} quotes, {len(numbers)} events", "", f"Brier of the mid {brier:.4f}"),
            *((what, to_reach, shown(self.difference(p, mids, rows))) for what, to_reach, p in measured),
        ]

    def rule_lines(self) -> list[tuple[str, str, str]]:
        """What the settlement rule is worth near the close."""
        with_both = self.with_basis[480]
        with_basis = self.probabilities(SettlementRule.LAST_PRICE, self.bases[480])
        lines = []
        for minutes, goal in ((1, "-.008"), (2, "-.003")):
            rows = self.quotes.ttc_seconds == minutes * SECONDS_PER_MINUTE
            expected = -float(np.mean((with_both - with_basis)[rows] ** 2))
            for what, to_reach, ours, reference in (
                ("with minus without the rule, both with the basis", goal, with_both, with_basis),
                ("with minus without the rule, neither with the basis", "", self.mean, self.last_price),
                ("with the rule and the basis minus without both", "", with_both, self.last_price),
            ):
                found = shown(self.difference(ours, reference, rows))
                note = f"; {expected:+.4f} expected of right probabilities" if to_reach else ""
                lines.append((f"{minutes} min to the close, {rows.sum():,} quotes: {what}", to_reach, found + note))
        return lines


def index_lines(folder: Path) -> list[tuple[str, str, str]]:
    values = index_values(folder)
    lines = []
    for what, every in (("each minute as a close", 60), ("each second as a close", 1)):
        ratios, without = spread_ratios(values, np.arange(60, len(values), every))
        for kind, found in (("", ratios), (", without the rule", without)):
            lines.append(
                (
                    f"index: error over its prediction, 10 to 59 s to the close, {what}{kind}",
                    "" if kind else "0.95 to 1.05",
                    f"{found[9:].min():.2f} to {found[9:].max():.2f}, mean {found[9:].mean():.2f}",
                )
            )
        lines.append((f"index: 1 to 5 s, {what}", "", f"{ratios[:5].min():.2f} to {ratios[:5].max():.2f}"))
    return lines


def table(lines: Sequence[tuple[str, str, str]]) -> str:
    return "\n".join(["| | to reach | measured |", "|---|---|---|", *(f"| {' | '.join(line)} |" for line in lines)])


@dataclass(frozen=True)
class Recordings:
    """The folder of recorded quotes, the bars of their time, and whether the tables go into the page."""

    folder: Path
    history: MarketHistory
    write: bool

    @classmethod
    def chosen(cls, name: str, description: str | None) -> "Recordings":
        """By the arguments of `python -m benchmarks.{name}`."""
        parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
        add_prices_option(parser)
        setting = os.environ.get(VARIABLE)
        parser.add_argument("--markets", type=Path, default=ROOT / setting / "markets" if setting else None)
        parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
        arguments = parser.parse_args()
        if arguments.markets is None:
            parser.error(f"there are no recorded quotes: see --markets and {VARIABLE}")
        prices = chosen_prices(arguments, ["BTC"])
        if prices.generated:
            parser.error(f"recorded quotes need the bars of their time: see --prices and {VARIABLE}")
        return cls(arguments.markets, history_of(prices.of("BTC")), arguments.write)

    def report(self, measured: str, markers: tuple[str, str]) -> None:
        """Print tables with the machine, and put them between the markers of the page if that was asked for."""
        measured += f"\n\nMeasured on: {', '.join(f'{name} {value}' for name, value in machine().items())}."
        print(measured)
        if self.write:
            replace_between_markers(PAGE, markers, measured)


def main() -> None:
    """Measure, print, and with --write put the table into the page."""
    recordings = Recordings.chosen("settlement", __doc__)
    folder, history = recordings.folder, recordings.history
    scores = Scores(history, candles(folder))
    lines = [
        *scores.lines("minute candles, 2025-04", "-.0018, clear of 0"),
        *scores.lines("its last events", last=LAST_EVENTS),
        *scores.rule_lines(),
        *index_lines(folder),
    ]
    history.cache.clear()
    lines += Scores(history, ticks(folder)).lines("order book, 2025-05")
    recordings.report(table(lines), MARKERS)


if __name__ == "__main__":
    main()
