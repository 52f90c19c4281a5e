"""The settlement rule and the basis on recorded quotes; writes the table of docs/models.md.

`python -m benchmarks.settlement --markets FOLDER [--prices FOLDER] [--write]` takes about a minute. The folder of
recorded quotes is by default $STRIKECAST_REAL_DATA/markets.
"""

import argparse
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.models import PAGE, ROOT, history_of
from benchmarks.price_files import VARIABLE, add_prices_option, chosen_prices
from benchmarks.results import machine
from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.evaluation.scoring import Interval
from pipelines.domain.evaluation.settlement_scores import (
    RecordedQuotes,
    Replay,
    brier_difference,
    pooled_with,
    spread_ratios,
)
from pipelines.domain.markets.basis import two_sided
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.domain.models.standardised import StandardisedModel
from pipelines.domain.prices.bars import MINUTES_PER_DAY, Floats
from pipelines.domain.prices.history import MarketHistory

BEGIN, END = "<!-- settlement: begin -->", "<!-- settlement: end -->"
CANDLES, TICKS = "kxbtcd_hourly_1m_2025-04", "kxbtcd_hourly_ticks_2025-05"
INDEX = "kxbtcd_hourly_book_brti_2025-05-14/KXBTCD-25MAY1323.parquet"
LONGEST_MINUTES = 59
MAX_INDEX_AGE_SECONDS = 10
HALF_LIVES_MINUTES = (60, 240, 480)
LAST_EVENTS = 194


def candles(folder: Path) -> RecordedQuotes:
    """Closes of minute candles; a candle's time is the end of its minute."""
    markets = pl.read_parquet(folder / CANDLES / "markets.parquet")
    quotes = pl.read_parquet(folder / CANDLES / "candles.parquet").select(
        "market_ticker",
        pl.col("ts").alias("at"),
        pl.col("yes_bid_close_cents").alias("bid"),
        pl.col("yes_ask_close_cents").alias("ask"),
    )
    return recorded(quotes, markets.select("market_ticker", "result", "close_time", strike="floor_strike"))


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
    """Quotes on both sides, at most 20 cents apart, 1 to 59 minutes before the close.

    A strike such as 118499.99 means a cent more or higher.
    """
    left = (pl.col("close_time") - pl.col("at")).dt.total_seconds()
    frame = (
        quotes.join(markets.filter(pl.col("result").is_in(["yes", "no"])), on="market_ticker")
        .with_columns((left // 60).alias("ttc"), (pl.col("bid", "ask") / 100.0))
        .filter((left >= 60) & (left <= 60 * LONGEST_MINUTES))
        .sort("at", "market_ticker")
    )
    found = RecordedQuotes(
        (frame["close_time"].dt.epoch("s") // 3600).to_numpy(),
        (frame["at"].dt.epoch("s") // 60).to_numpy(),
        frame["ttc"].to_numpy(),
        frame["strike"].to_numpy() + 0.01,
        frame["bid"].cast(pl.Float64).to_numpy(),
        frame["ask"].cast(pl.Float64).to_numpy(),
        (frame["result"] == "yes").to_numpy(),
    )
    kept = two_sided(found.bids, found.asks)
    return RecordedQuotes(*(values[kept] for values in vars(found).values()))


def replay_of(history: MarketHistory, quotes: RecordedQuotes) -> Replay:
    """The model fitted before the recording, its tables updated at the start of each day."""
    days = np.unique(quotes.instants // MINUTES_PER_DAY)
    instants = (np.arange(days[0], days[-1] + 1) * MINUTES_PER_DAY).tolist()
    fits = list(StandardisedModel().fit_each(history, instants, ModelConfig()))
    return Replay.of(history, fits, quotes)


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
    """The model's readings of recorded quotes."""

    def __init__(self, replay: Replay) -> None:
        self.replay = replay
        self.quotes = replay.quotes
        none = np.zeros((1, 1))
        self.last_price = replay.probabilities(SettlementRule.LAST_PRICE, none)[:, 0]
        self.mean = replay.probabilities(SettlementRule.MEAN_60S, none)[:, 0]
        self.bases = {
            minutes: replay.quoted_bases(SettlementRule.MEAN_60S, timedelta(minutes=minutes))
            for minutes in HALF_LIVES_MINUTES
        }
        self.with_basis = {
            minutes: replay.probabilities(SettlementRule.MEAN_60S, bases[:, None])[:, 0]
            for minutes, bases in self.bases.items()
        }

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
            *((what, to_reach, shown(brier_difference(p, mids, self.quotes, rows))) for what, to_reach, p in measured),
        ]

    def rule_lines(self) -> list[tuple[str, str, str]]:
        """What the settlement rule is worth near the close."""
        with_both = self.with_basis[480]
        with_basis = self.replay.probabilities(SettlementRule.LAST_PRICE, self.bases[480][:, None])[:, 0]
        lines = []
        for minutes, goal in ((1, "-.008"), (2, "-.003")):
            rows = self.quotes.ttc_minutes == minutes
            expected = -float(np.mean((with_both - with_basis)[rows] ** 2))
            for what, to_reach, ours, reference in (
                ("with minus without the rule, both with the basis", goal, with_both, with_basis),
                ("with minus without the rule, neither with the basis", "", self.mean, self.last_price),
                ("with the rule and the basis minus without both", "", with_both, self.last_price),
            ):
                found = shown(brier_difference(ours, reference, self.quotes, rows))
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


def main() -> None:
    """Measure, print, and with --write put the table into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.settlement", description=__doc__)
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
    history = history_of(prices.of("BTC"))
    scores = Scores(replay_of(history, candles(arguments.markets)))
    lines = [
        *scores.lines("minute candles, 2025-04", "-.0018, clear of 0"),
        *scores.lines("its last events", last=LAST_EVENTS),
        *scores.rule_lines(),
        *index_lines(arguments.markets),
    ]
    history.cache.clear()
    lines += Scores(replay_of(history, ticks(arguments.markets))).lines("order book, 2025-05")
    measured = f"{table(lines)}\n\nMeasured on: {', '.join(f'{name} {value}' for name, value in machine().items())}."
    print(measured)
    if arguments.write:
        page = PAGE.read_text(encoding="utf-8")
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        PAGE.write_text(f"{before}{BEGIN}\n{measured}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
