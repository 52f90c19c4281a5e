"""Commands that ingest and generate prices."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.cli import console
from pipelines.cli.arguments import Json, Symbol, command_settings
from pipelines.errors import SettingsError
from pipelines.settings import Settings

app = typer.Typer()


@app.command()
def ingest(
    symbol: Symbol,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="CSV (also .gz, .zst), zip, Parquet, Feather or JSON files, or folders of them."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show how the files are understood, store nothing; needs no database.")
    ] = False,
    time_zone: Annotated[
        str | None, typer.Option(help="Zone of times without an offset, such as America/New_York; by default UTC.")
    ] = None,
    accept_symbol: Annotated[
        bool, typer.Option("--accept-symbol", help="Take files whose name or columns name another symbol.")
    ] = False,
    accept_corrections: Annotated[
        bool, typer.Option("--accept-corrections", help="Take files that contradict the stored bars.")
    ] = False,
    from_exchange: Annotated[
        bool,
        typer.Option("--from-exchange", help="Fetch missing minutes from the exchange, up to the newest complete one."),
    ] = False,
    since: Annotated[
        datetime | None, typer.Option(help="With --from-exchange: fetch all minutes missing since then, UTC.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Ingest price files, or bars from the configured exchange, and print what was stored.

    Incremental: ingesting the same bars again changes nothing. A damaged row is quarantined with a reason. A file that
    cannot be understood with certainty is refused whole, with exit code 1 and what was seen; docs/price-files.md lists
    the formats.

    Examples: `strikecast ingest BTC ~/bars/btc_1m.parquet`, `strikecast ingest BTC ~/bars --dry-run`,
    `strikecast ingest BTC --from-exchange --since 2026-07-01`
    """
    settings = command_settings([symbol])
    if bool(paths) == from_exchange or (since is not None and not from_exchange):
        raise SettingsError("ingest takes either files or --from-exchange (optionally with --since)")
    files = [path.expanduser().absolute() for path in paths or []]
    if dry_run:
        _show_files(settings, symbol, files, time_zone, accept_symbol=accept_symbol, as_json=as_json)
        return
    from pipelines.service.instance import prepared_instance
    from pipelines.service.job_runner import run_job

    config: dict[str, object] = {
        "paths": [str(path) for path in files],
        "accept_corrections": accept_corrections,
        "accept_symbol": accept_symbol,
        **({"time_zone": time_zone} if time_zone else {}),
        **({"origin": "EXCHANGE"} if from_exchange else {}),
        **({"since": since.replace(tzinfo=UTC).isoformat()} if since else {}),
    }
    with prepared_instance(settings, console.log):
        metadata = run_job("ingest_prices", symbol, {"price_history": config}, console.log)["price_history"]
    if from_exchange:
        names = ("origin", "since", "until", "requested_minutes", "inserted", "corrected", "quarantined")
        _print({name: metadata[name] for name in (*names, "still_missing_minutes")}, as_json=as_json)
    else:
        _print_report(metadata["report"], as_json=as_json)


def _show_files(
    settings: Settings, symbol: str, paths: Sequence[Path], time_zone: str | None, *, accept_symbol: bool, as_json: bool
) -> None:
    from pipelines.ingestion.price_files import stage_price_files
    from pipelines.ingestion.understanding import Expectation
    from pipelines.log import heartbeat

    expected = Expectation(symbol, time_zone, accept_symbol, tuple(settings.symbols))
    with (
        heartbeat(console.log) as doing,
        stage_price_files(paths, datetime.now(UTC), expected, doing=doing) as bars,
    ):
        summaries, skipped = bars.summaries, [{"name": name, "reason": reason} for name, reason in bars.skipped]
    if as_json:
        console.print_json({"symbol": symbol, "files": summaries, "skipped": skipped})
        return
    for number, summary in enumerate(summaries):
        console.print_facts({**({" ": ""} if number else {}), **asdict(summary), "refused": _counts(summary.refused)})
    _print_skipped(skipped)


def _print_report(report: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the counts of an ingestion."""
    if as_json:
        console.print_json(report)
        return
    names = ("rows_read", "inserted", "corrected", "unchanged", "absent", "repeated", "archived", "quarantined")
    times = {
        name: report[f"{name}_at"] and datetime.fromisoformat(report[f"{name}_at"])
        for name in ("first_bar", "last_bar")
    }
    counts = {name: report[name] for name in names}
    counts["rounded"] = sum(summary["rounded"] for summary in report["summaries"])
    reasons = _counts(report["reasons"]) or None
    console.print_facts(
        {"files": tuple(report["files"]), **counts, "reasons": reasons, **times, "gaps": report["gaps"]}
    )
    _print_skipped(report["skipped"])


def _counts(reasons: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(f"{count:,} {reason}" for reason, count in reasons.items())


def _print_skipped(files: Sequence[Mapping[str, str]]) -> None:
    console.print_lines(*(f"skipped {file['name']}: {file['reason']}" for file in files))


def _print(facts: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        console.print_json(facts)
    else:
        console.print_facts(facts)


@app.command()
def sample(
    symbol: Symbol,
    days: Annotated[int, typer.Option(min=1, help="Days of bars, ending now.")] = 180,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bars for the same end.")] = 1,
    until: Annotated[datetime | None, typer.Option(help="End of the bars, UTC; by default now.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the bars to this file instead of ingesting them.")] = None,
) -> None:
    """Generate synthetic bars (clustered volatility, jumps, gaps, no drift) and ingest them.

    Example: `strikecast sample BTC --days 180 --seed 1`
    """
    settings = command_settings([symbol])
    from pipelines.service import builds
    from pipelines.service.instance import prepared_instance

    end = (until or datetime.now(UTC)).replace(tzinfo=UTC)
    if output is not None:
        console.result.print(str(builds.write_synthetic_bars(symbol, days, seed, end, output)))
        return
    with prepared_instance(settings, console.log):
        builds.ingest_synthetic_bars(settings, symbol, days, seed, end, console.log)
