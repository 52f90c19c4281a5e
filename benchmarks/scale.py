"""How one database grows with the number of symbols: `python -m benchmarks.scale --home FOLDER --symbols N ...`.

For each number of symbols, smallest first, the home folder is filled up to it, and the steps are measured, or those of
`--only`. The folder is kept, and its `scale.json` has all results so far, so that the measurement can be done in
pieces: `--symbols 1 2 4 8`, then `--symbols 100 --only fill`, then `--symbols 200`. `--report` prints the table of all
results with the law of growth of each figure, and measures nothing. 200 symbols of 90 days need 40 GB and an hour on
two cores.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson

from benchmarks.price_files import add_prices_option, chosen_prices
from benchmarks.results import machine
from benchmarks.scale_figures import Figures, audit, backup, catalog, events, published, queries, system
from benchmarks.scale_home import ScaleHome, symbol_names
from benchmarks.scale_live import live_refresh

STEPS = ("fill", "increment", "catalog", "queries", "events", "live", "system", "audit", "backup")
DAYS = 90
#: What the report shows, by the figure's name; all figures are in the home folder's `scale.json`.
LABELS = {
    "ingest_seconds": "ingestion of the history, s a symbol",
    "build_seconds": "full build, s a symbol",
    "build_cpu_seconds": "the same, CPU s of all processes",
    "increment_seconds": "new day of all symbols, ingestion and builds, s",
    "increment_cpu_seconds": "the same, CPU s of all processes",
    "pg_class_rows": "rows of pg_class",
    "catalog_mb": "system catalogs, MB",
    "database_mb": "database, MB",
    "events_kb_per_symbol": "Dagster's events, kB a symbol and build",
    "event_rows_per_symbol": "Dagster's events, rows a symbol and build",
    "live_lookup_rows_first_ms": "live lookup, first on a connection, ms",
    "live_lookup_rows_again_ms": "live lookup, again, ms",
    "live_champions_again_ms": "published generations of all symbols, ms",
    "fingerprint_view_first_ms": "fingerprint view, first on a connection, ms",
    "lookup_cell_first_ms": "lookup_cell of a symbol, first on a connection, ms",
    "lookup_cell_again_ms": "lookup_cell of a symbol, again, ms",
    "lookup_cell_locks": "locks that lookup_cell takes",
    "strike_probability_first_ms": "strike_probability, first on a connection, ms",
    "strike_probability_again_ms": "strike_probability, again, ms",
    "bars_of_a_day_locks": "locks that a day of bars takes",
    "quiet_p50_ms": "live refresh of all symbols at once, quiet, p50 ms",
    "quiet_p95_ms": "the same, p95 ms",
    "quiet_p99_ms": "the same, p99 ms",
    "building_p99_ms": "while two builds run, p99 ms",
    "p99_ratio": "the same, times the quiet one",
    "session_cpu_percent": "live session at a price a second of each, % of a core",
    "session_rss_mb": "live session, RSS MB",
    "up_live_after_seconds": "start of `strikecast up` to the last first file, s",
    "up_cpu_percent": "all processes of `up`, replay, % of a core",
    "up_pss_mb": "all processes of `up`, PSS MB",
    "tick_rebuild_what_changed_p50_ms": "automation tick, median ms",
    "tick_live_supervisor_p50_ms": "live supervisor's tick, median ms",
    "tick_watchdog_p50_ms": "watchdog's tick, median ms",
    "tick_run_reaper_p50_ms": "run reaper's tick, median ms",
    "get_page_ms": "the page, ms",
    "get_health_ms": "/health, ms",
    "status_seconds": "`strikecast status`, s",
    "audit_seconds": "hourly audit, s",
    "audit_rows": "hourly audit, stored rows",
    "audit_prom_kb": "/metrics, kB",
    "backup_seconds": "backup, s",
    "backup_mb": "backup, MB",
}


def fill(home: ScaleHome, symbols: Sequence[str], most: int) -> Figures:
    """Ingest and build the symbols that are missing, at most `most`, and copy others; seconds per symbol of each."""
    state, found = home.state(), {}
    new = symbols[state["symbols"] : most]
    home.configure(symbols)
    if new:
        ingested = home.ingest(new, -home.days, state["day"])
        built = home.run("build", *new)
        home.save({**home.state(), "symbols": len(symbols[:most])})
        found = {"ingest_seconds": ingested.seconds / len(new), "build_seconds": built.seconds / len(new)}
        found["build_cpu_seconds"] = built.cpu_seconds / len(new)
    copied = symbols[max(most, state["symbols"]) :]
    if copied:
        home.copy(copied, print)
    return found


def increment(home: ScaleHome, symbols: Sequence[str], sample: int) -> Figures:
    """A new day of bars of each symbol, ingested, built and published; seconds of all symbols.

    More than `sample` symbols are not all measured: a sample is, and its duration multiplied.
    """
    day, chosen = home.state()["day"], symbols[:sample]
    began = datetime.now(UTC)
    used = home.increment(chosen, day)
    home.save({**home.state(), "day": day + 1})
    with home.server() as database:
        done = published(database, began)
    scale = len(symbols) / len(chosen)
    return {
        "increment_seconds": scale * used.seconds,
        "increment_cpu_seconds": scale * used.cpu_seconds,
        "increment_measured_symbols": len(chosen),
        "increment_published_symbols": done,
    }


def measure(home: ScaleHome, symbols: Sequence[str], arguments: argparse.Namespace) -> None:
    """Run the steps for a number of symbols, and store their results."""
    steps, seconds = arguments.only, arguments.seconds

    def store(found: Mapping[str, float]) -> None:
        state = home.state()
        of_count = state["results"].setdefault(str(len(symbols)), {})
        of_count.update({name: round(value, 3) for name, value in found.items()})
        home.save(state)
        print(
            f"{len(symbols)} symbols: {', '.join(f'{name} {value:.4g}' for name, value in found.items())}", flush=True
        )

    if "fill" in steps:
        store(fill(home, symbols, arguments.built))
    if "increment" in steps:
        store(increment(home, symbols, arguments.sample))
    with home.server() as database:
        work: dict[str, Callable[[], Figures]] = {
            "catalog": lambda: catalog(database),
            "queries": lambda: queries(database, symbols),
            "events": lambda: events(database),
            "live": lambda: live_refresh(home, database, symbols, seconds),
            "system": lambda: system(home, database, symbols, seconds),
            "audit": lambda: audit(home, database),
            "backup": lambda: backup(home),
        }
        for name, step in work.items():
            if name in steps:
                store(step())


def report(results: Mapping[str, Mapping[str, float]]) -> None:
    """Print each figure by the number of symbols, with its law of growth and what it would be at 1,000 symbols."""
    counts = sorted(map(int, results))
    print(f"| figure | {' | '.join(map(str, counts))} | growth | 1,000 |")
    print(f"|---|{'---|' * (len(counts) + 2)}")
    for name, label in LABELS.items():
        known = {count: results[str(count)][name] for count in counts if name in results[str(count)]}
        cells = [f"{known[count]:,.4g}" if count in known else "" for count in counts]
        print(f"| {label} | {' | '.join(cells)} | {' | '.join(growth(known))} |")


def growth(known: Mapping[int, float]) -> tuple[str, str]:
    """Constant and slope of a line, weighted so that each count matters alike; and its value at 1,000 symbols.

    The exponent is that of the growth between the two largest counts, without the constant.
    """
    if len(known) < 3:
        return "", ""
    counts, values = np.array(list(known), dtype=float), np.array(list(known.values()))
    slope, constant = np.polyfit(counts, values, 1, w=1 / np.maximum(np.abs(values), 1e-9))
    before, last = counts[-2:]
    grown = values[-1] - values[0], values[-2] - values[0]
    exponent = f", n^{np.log(grown[0] / grown[1]) / np.log(last / before):.2f}" if min(grown) > 0 else ""
    return f"{constant:.3g} + {slope:.3g} n{exponent}", f"{constant + 1000 * slope:,.4g}"


def main() -> None:
    """Measure, store and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    add_prices_option(parser)
    parser.add_argument("--home", type=Path, required=True, help="home folder, kept and continued")
    parser.add_argument("--symbols", type=int, nargs="+", default=[1, 2, 4, 8, 200], help="numbers of symbols")
    parser.add_argument("--days", type=int, default=DAYS, help="days of history, 1,800 for five years")
    parser.add_argument("--only", nargs="+", choices=STEPS, default=STEPS, help="steps to measure")
    parser.add_argument("--output", type=Path, help="folder of the probability files, by default in the home folder")
    parser.add_argument("--built", type=int, default=8, help="symbols that are built; further ones are copied")
    parser.add_argument("--sample", type=int, default=200, help="most symbols that an increment is measured with")
    parser.add_argument("--seconds", type=float, default=24.0, help="duration of each measurement of a running system")
    parser.add_argument("--report", action="store_true", help="print the stored results only")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    arguments = parser.parse_args()
    prices = chosen_prices(arguments)
    folder = arguments.home.absolute()
    home = ScaleHome(folder, prices.folder, arguments.days, (arguments.output or folder / "output").absolute())
    if not arguments.report:
        for count in sorted(arguments.symbols):
            measure(home, symbol_names(count), arguments)
    results = home.state()["results"]
    report(results)
    print(f"\n{prices.source}, {arguments.days} days each; {machine()}")
    if arguments.json:
        arguments.json.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
