"""Store backtests of the paper desk, and read what they need beside quotes: fee terms and earlier variants."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from pipelines.domain.evaluation.desk_report import DeskReport
from pipelines.domain.evaluation.scoring import Interval
from pipelines.domain.markets.fees import FeePeriod, FeeSchedule, FeeTerms, FeeType
from pipelines.domain.markets.settlement import SettlementRule
from pipelines.storage.models.generations import code_version
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements, read_value

SQL = Statements(__name__)
#: Key of a series' own terms.
OF_SERIES = ""


@dataclass(frozen=True)
class BacktestRun:
    """What was tried on which quotes. `rules`, `assumptions`: JSON values; `variant`: SHA-256 of both, hexadecimal."""

    exchange: str
    symbol: str
    series_ticker: str
    settlement: SettlementRule
    model: str
    rules: Mapping[str, Any]
    assumptions: Mapping[str, Any]
    variant: str


def read_fee_schedules(connection: Connection, exchange: str, series: str) -> dict[str, FeeSchedule]:
    """The stored terms of a series, by OF_SERIES, and those of single events after them, by event ticker."""
    periods: dict[str, list[FeePeriod]] = {}
    rows = connection.execute(SQL["fees_of_series"], {"exchange": exchange, "series": series}).fetchall()
    for event, fee_type, multiplier, starts_at, ends_at in rows:
        period = FeePeriod(FeeTerms(FeeType(fee_type), multiplier), starts_at, ends_at)
        periods.setdefault(event, []).append(period)
    of_series = periods.setdefault(OF_SERIES, [])
    return {event: FeeSchedule(tuple(of_series + (own if event else []))) for event, own in periods.items()}


def read_variants(
    connection: Connection, exchange: str, series: str, quoted_from: datetime, quoted_until: datetime
) -> frozenset[tuple[str, str]]:
    """The distinct (model, variant) stored for quotes of a series between these minutes (aware UTC)."""
    parameters = {"exchange": exchange, "series": series, "quoted_from": quoted_from, "quoted_until": quoted_until}
    rows = connection.execute(SQL["variants_of_quotes"], parameters).fetchall()
    return frozenset((model, variant) for model, variant in rows)


def write_backtest(
    connection: Connection,
    run: BacktestRun,
    report: DeskReport,
    as_json: Mapping[str, Any],
    variants: int,
    run_id: str | None = None,
) -> int:
    """Store a backtest and return its number. `as_json`: the whole report; `variants`: tried, this one included."""
    by_event = None if report.gain is None else report.gain.by_event
    by_day = None if report.gain is None else report.gain.by_day
    parameters = {
        "exchange": run.exchange,
        "symbol": run.symbol,
        "series": run.series_ticker,
        "settlement": run.settlement,
        "model": run.model,
        "quoted_from": report.first_at,
        "quoted_until": report.last_at,
        "rules": Jsonb(run.rules),
        "assumptions": Jsonb(run.assumptions),
        "variant": run.variant,
        "variants": variants,
        "quotes": report.quotes,
        "events": report.events,
        "days": report.days,
        "trades": report.trades,
        "contracts": report.contracts,
        "fees_usd": report.fees_usd,
        "gain_usd": report.gain_usd,
        **_ends("event", by_event),
        **_ends("day", by_day),
        "max_drawdown_usd": report.max_drawdown_usd,
        "report": Jsonb(as_json),
        "code_version": code_version(),
        "run_id": run_id,
    }
    return int(read_value(connection, SQL["insert_desk_backtest"], parameters))


def _ends(block: str, interval: Interval | None) -> dict[str, float | None]:
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return {f"low_by_{block}": low, f"high_by_{block}": high}
