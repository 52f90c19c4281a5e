"""`strikecast markets backfill`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from pipelines.cli import console
from pipelines.cli.arguments import Json, command_settings
from pipelines.deployment import migrated_database
from pipelines.errors import MarketError


def backfill(
    symbols: Annotated[
        list[str] | None, typer.Option("--symbol", help="Symbol; repeatable; by default all that have series.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=365, help="Markets that closed in so many last days.")] = 3,
    json: Json = False,
) -> None:
    """Fetch what is missing of closed markets: results, fee terms, and the minute candles of their last hour.

    Stored candles of the exchange are not asked for again; minutes for which it has none are computed from stored
    quotes. What remains missing is counted with its reason. The schedule `daily_market_backfill` does so each night.

    Examples: `strikecast markets backfill`, `strikecast markets backfill --symbol BTC --days 30 --json`
    """
    settings = command_settings(symbols)
    from pipelines.markets.backfill import backfill_plan, fetch_fees, fetch_markets
    from pipelines.markets.candle_backfill import fetch_candles

    now = datetime.now(UTC)
    names = symbols or [symbol for symbol, known in settings.symbols.items() if known.series]
    plans = [backfill_plan(settings, symbol, now, days) for symbol in names]
    reports: list[dict[str, Any]] = []
    failures: list[str] = []
    with migrated_database(settings, console.log) as database:
        for plan in plans:
            report: dict[str, Any] = {"symbol": plan.symbol, "source": plan.exchange, "series": list(plan.series)}
            report |= {"since": plan.since, "until": plan.until}
            for part, fetch in (("markets", fetch_markets), ("fees", fetch_fees), ("candles", fetch_candles)):
                try:
                    report[part] = asdict(fetch(database, plan, console.log))
                except MarketError as error:
                    report[part] = None
                    failures.append(f"{plan.symbol}: {error}")
            reports.append(report)
    if json:
        console.print_json({"symbols": reports, "failures": failures})
    else:
        _print(reports)
    if failures:
        raise MarketError("; ".join(failures))


def _print(reports: Sequence[Mapping[str, Any]]) -> None:
    for number, report in enumerate(reports):
        facts: dict[str, Any] = {" ": ""} if number else {}
        facts |= {name: report[name] for name in ("symbol", "source", "since", "until")}
        facts["series"] = tuple(report["series"])
        notes: list[str] = []
        for part in ("markets", "fees", "candles"):
            found = report[part] or {}
            facts |= {f"{part}_{name}": value for name, value in found.items() if isinstance(value, int)}
            notes += [f"refused {one['ticker']}: {one['reason']}" for one in found.get("refused", ())]
            notes += [
                f"missing {one['minutes']:,} minutes of {one['markets']:,} markets: {one['reason']}"
                for one in found.get("missing", ())
            ]
            notes += [f"failed: {problem}" for problem in found.get("problems", ())]
        console.print_facts(facts)
        console.print_lines(*notes)
