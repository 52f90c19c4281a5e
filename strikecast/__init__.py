"""Read strikecast's data as polars frames, for notebooks and scripts.

    >>> import strikecast
    >>> strikecast.__all__
    ['as_of', 'bars', 'ladder', 'probabilities', 'query', 'scores']

The settings are those of the command line: `STRIKECAST_HOME`, `STRIKECAST_DATABASE_URL` and the settings file. A login
with `strikecast_reader` suffices, and nothing is changed. With STRIKECAST_READ_URL, every function reads there, such as
from a replica, and `as_of` tells how old its data are. Without either, the embedded server is started for each call,
unless `strikecast up` runs.

All times are aware and in UTC. Prices are in USD; probabilities are in percent, except those of `scores`, which are
fractions, as in the database. Every function raises a `StrikecastError` of `pipelines.errors`, whose message is one
line with the remedy: SettingsError for invalid arguments, NoDataError where nothing is stored, DatabaseError for the
server.
"""

from datetime import UTC, datetime

import polars as pl

from pipelines.deployment import reading_database
from pipelines.errors import ReplicaLagError
from pipelines.live.probability_reader import rungs_of
from pipelines.settings import Settings, load_settings
from pipelines.storage.files.archive import Archive
from pipelines.storage.models.ladders import current_question, ladder_payload
from pipelines.storage.postgres.reading import read, read_state
from pipelines.storage.queries import frames

__all__ = ["as_of", "bars", "ladder", "probabilities", "query", "scores"]


def as_of() -> datetime:
    """Time of the newest commit that the functions see: now, or of a replica that of the last one that it has replayed.

    Raises DatabaseError where that is longer ago than `read_lag_seconds`, as every function does, unless the replica
    has replayed all that it has received.
    """
    with reading_database(load_settings()) as database:
        state = read(database, "read", read_state)
    if state.as_of is None:
        raise ReplicaLagError(f"{database.describe()} is {state}")
    return state.as_of


def bars(symbol: str, since: datetime | None = None, until: datetime | None = None) -> pl.DataFrame:
    """One-minute bars of a symbol that opened in [since, until), in the database or archived, oldest first.

    Columns: opened_at, open, high, low, close (USD), volume (coins), archived. Five years are 2.6 million rows.
    """
    settings = _settings(symbol)
    with reading_database(settings) as database:
        return frames.read_bars(database, Archive.of(settings), symbol, since, until)


def ladder(
    symbol: str,
    price: float,
    ttc: float,
    *,
    momentum: float | None = None,
    model: str | None = None,
    sigma: float | None = None,
    settlement: str | None = None,
    known_mean: float | None = None,
    basis: float | None = None,
) -> pl.DataFrame:
    """The probabilities of 21 strikes around a price `ttc` seconds before the market's close, lowest strike first.

    `momentum`: percent. `model`: by default the champion. `sigma`: volatility, percent per square root of a minute; by
    default the forecast after the newest bar, which must be less than 24 hours old. `settlement`: "mean_60s" or
    "last_price", by default the rule in the settings of the symbol; for the mean, `known_mean` is that of the last
    minute so far (USD, by default the price), and `basis` the log of the market's index over the price (basis points).

    Columns: strike (USD), move_pct (from the price to the strike), at_or_above_pct (of closing at or above the strike),
    low_pct and high_pct (its 95 % interval), below_pct. They are null where the model has no answer.
    """
    settings, now = _settings(symbol), datetime.now(UTC)
    question = current_question(settlement or settings.rules[symbol], price, ttc, known_mean, basis, now)
    with reading_database(settings) as database:
        payload = ladder_payload(
            database,
            symbol,
            settings.tier_usd(symbol),
            price,
            ttc,
            momentum,
            model,
            sigma,
            now,
            by_probability=symbol in settings.by_probability,
            question=question,
        )
    names = ("strike", "move_pct", "at_or_above_pct", "low_pct", "high_pct", "below_pct")
    rows = [
        (rung.strike, rung.move_pct, rung.at_or_above, rung.low, rung.high, rung.below) for rung in rungs_of(payload)
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.Float64), orient="row").reverse()


def probabilities(symbol: str, since: datetime | None = None, until: datetime | None = None) -> pl.DataFrame:
    """Answers of live sessions, sampled once a minute and given in [since, until): a row per strike, oldest first.

    Columns: symbol, answered_at, market_close, ttc_seconds, price, model, generation, bucket, sigma_pct, status, strike
    (USD), prob_beyond (percent: of closing at or past the strike, seen from the price), at_or_above (percent), and
    closing_price and closed_at_or_above, which are null until the market has closed, settlement (last_price or
    mean_60s: the rule of closing_price), basis_bps (log of the market's index over the price; null: none was used),
    source. closed_at_or_above compares closing_price times exp(basis).
    """
    settings = _settings(symbol)
    with reading_database(settings) as database:
        return frames.read_answers(database, symbol, since, until)


def scores(symbol: str, dimension: str = "all") -> pl.DataFrame:
    """Stored scores of a symbol's models, by run, model and level.

    `dimension`: what the cases are grouped by, such as all, volatility_band, ttc_minutes, hour or quarter; `level` is
    its value. Columns: score_run_id, symbol, origin (walk_forward or live), scored_from, scored_until, created_at,
    model, settlement, dimension, level, n (cases), mean_probability, happened, brier, log_loss, sharpness, skill,
    skill_low, skill_high. `settlement`: the rule of the outcomes; live that of the answers, walk-forward always
    last_price, since one-minute bars do not give the mean of a minute. `strikecast score SYMBOL --store` adds a run.
    """
    settings = _settings(symbol)
    with reading_database(settings) as database:
        return frames.read_scores(database, Archive.of(settings), symbol, dimension)


def query(statement: str) -> pl.DataFrame:
    """The result of a SELECT in DuckDB's SQL on `price` (all bars) and all tables; see `strikecast query --help`."""
    settings = load_settings()
    with reading_database(settings) as database:
        return frames.read_query(database, Archive.of(settings), statement)


def _settings(symbol: str) -> Settings:
    settings = load_settings()
    settings.require_symbol(symbol)
    return settings
