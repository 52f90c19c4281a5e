"""Benchmarks of the live session: `python -m benchmarks.live [--prices FOLDER] [--only NAME ...] [--json FILE]`.

A quarter of an hour on an idle machine. Everything runs in separate processes, as in production.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import orjson
import psutil

from benchmarks.live_processes import (
    build_symbols,
    session,
    session_number,
    start_session,
    stop_session,
    time_calls,
    wait_for,
    watch_replacements,
    written_at,
)
from benchmarks.price_files import add_prices_option, chosen_prices
from benchmarks.results import Result, percentiles_ms, print_and_save
from benchmarks.serving import tick_to_file
from pipelines.live.probability_writer import FENCE, probabilities_path
from pipelines.storage.live.sessions import read_lock_state
from pipelines.storage.live.state_store import METRICS, RISK_GUARD, SnapshotType, StateStore
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.embedded import EmbeddedServer, temporary_server_folder

ROOT = Path(__file__).parents[1]


def hand_overs(database: Database, output: Path, count: int = 24, period: float = 5.0) -> Result:
    """Gaps while sessions hand over every five seconds, each replaying an hour."""
    path = probabilities_path(output, "BTC")
    children: list[subprocess.Popen[str]] = []
    stop = threading.Event()

    def keep_standby() -> None:
        while not stop.is_set():
            with database.connect("bench", Role.READER) as connection:
                state = read_lock_state(connection)
            running = [child for child in children if child.poll() is None]
            if state.waiting == 0 and len(running) < 2:
                children.append(start_session(database, output, speed=3600 / period, period=period))
            time.sleep(0.5)

    starter = threading.Thread(target=keep_standby)
    starter.start()
    try:
        wait_for(path.exists)
        first = session_number(path)
        seen = watch_replacements(path, lambda: session_number(path) >= first + count)
    finally:
        stop.set()
        starter.join()
        for child in children:
            child.kill()
            child.wait()
    gaps = [later - earlier for earlier, later in pairwise(seen)]
    over = sum(gap > 1.0 for gap in gaps)
    return Result(
        f"seconds without a refresh across {count} hand-overs (an hour replayed each), {len(seen)} refreshes",
        f"{over} over 1.0 s; longest {max(gaps):.3f} s",
        "-",
        "0 over 1.0 s",
        over == 0,
        {"longest": max(gaps), "over": over},
    )


def standby_recovery(database: Database, output: Path, repeats: int = 10) -> Result:
    """Time from SIGKILL of the leader, while a standby waits, to the next write of the file."""
    path = probabilities_path(output, "BTC")
    samples = []
    with session(database, output) as first:
        wait_for(lambda: written_at(path))
        holder = first
        for _ in range(repeats):
            with database.connect("bench", Role.READER, autocommit=True) as connection:
                standby = start_session(database, output)
                wait_for(lambda connection=connection: read_lock_state(connection).waiting == 1)
            before = session_number(path)
            killed = time.time()
            holder.kill()
            wait_for(lambda before=before: session_number(path) > before)
            samples.append((written_at(path) or 0.0) - killed)
            holder.wait()
            holder = standby
        holder.kill()
        holder.wait()
    return Result(
        f"recovery after SIGKILL of the session, with hot standby ({repeats} times)",
        f"median {sorted(samples)[repeats // 2]:.3f} s, longest {max(samples):.3f} s",
        "-",
        "under 2 s",
        max(samples) < 2.0,
        {"seconds": samples},
    )


def daemon_recovery(home: Path, repeats: int = 3) -> Result:
    """Time from SIGKILL of the session under `strikecast up`, without a standby, to the next write of the file."""
    environment = {**os.environ, "STRIKECAST_HOME": str(home)}
    command = [sys.executable, "-m", "pipelines.cli", "up", "--port", "0"]
    path, fence = probabilities_path(home / "output", "BTC"), home / "output" / FENCE
    samples = []
    path.unlink(missing_ok=True)
    up = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(path.exists)
        for _ in range(repeats):
            time.sleep(15)
            before, killed = session_number(path), time.time()
            os.kill(orjson.loads(fence.read_bytes())["pid"], signal.SIGKILL)
            wait_for(lambda before=before: session_number(path) > before)
            samples.append((written_at(path) or 0.0) - killed)
    finally:
        up.terminate()
        up.wait()
    return Result(
        f"recovery after SIGKILL of the session, by Dagster's sensor ({repeats} times)",
        f"{', '.join(f'{sample:.1f}' for sample in samples)} s",
        "-",
        "under 20 s",
        max(samples) < 20.0,
        {"seconds": samples},
    )


def processor(database: Database, output: Path, seconds: float = 60.0) -> Result:
    """CPU time with both symbols at one tick a second."""
    with session(database, output) as child:
        wait_for(lambda: written_at(probabilities_path(output, "ETH")))
        time.sleep(3)
        process = psutil.Process(child.pid)
        before = sum(process.cpu_times()[:2])
        time.sleep(seconds)
        share = 100 * (sum(process.cpu_times()[:2]) - before) / seconds
        metrics = stop_session(child)
    return Result(
        f"CPU of the whole live process at 1 Hz, 2 symbols, {seconds:.0f} s",
        f"{share:.2f} % of a core, {metrics['cycles']:.0f} refreshes, {metrics['overruns']:.0f} overruns",
        "36 %, the original's own audit",
        "under 1.5 %",
        share < 1.5,
        {"percent": share},
    )


def memory(database: Database, output: Path, seconds: float = 600.0) -> Result:
    """Memory with both symbols at 50 ticks a second, while the file is read a hundred times a second."""
    path = probabilities_path(output, "BTC")
    opened = torn = 0
    with session(database, output, rate=50.0) as child:
        wait_for(lambda: written_at(path))
        time.sleep(20)
        process = psutil.Process(child.pid)
        sizes = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            sizes.append(process.memory_info().rss / 1e6)
            for _ in range(100):
                try:
                    payload = orjson.loads(path.read_bytes())
                    torn += len(payload["probabilities"]) != 21 or len(payload["intervals"]) != 21
                except (orjson.JSONDecodeError, FileNotFoundError):
                    torn += 1
                opened += 1
                time.sleep(0.01)
        metrics = stop_session(child)
    tenth = max(1, len(sizes) // 10)
    growth = sum(sizes[-tenth:]) / tenth - sum(sizes[:tenth]) / tenth
    total = metrics["latencies"]["total"]
    return Result(
        f"RSS of the whole live process at 50 Hz, 2 symbols, {seconds / 60:.0f} min; {opened:,} reads of the file",
        f"{max(sizes):.0f} MB, grew {growth:+.1f} MB; {torn} torn or invalid; {metrics['cycles']:.0f} refreshes, "
        f"p95 {total['p95']} ms, p99 {total['p99']} ms",
        "-",
        "under 170 MB, flat; 0 torn",
        max(sizes) < 170 and growth < 10 and torn == 0,
        {"max_mb": max(sizes), "growth_mb": growth, "opened": opened, "torn": torn},
    )


def many_symbols(database: Database, output: Path, count: int = 200, seconds: float = 60.0) -> Result:
    """Refresh many symbols, which are clones of BTC with its bars and generations."""
    names = [f"C{i:03d}" for i in range(count)]
    with database.connect("bench", None) as connection:
        connection.execute(
            "INSERT INTO analytics.active_generation (symbol, model, generation) "
            "SELECT name, model, generation FROM analytics.active_generation, unnest(%s::text[]) AS name "
            "WHERE symbol = 'BTC' ON CONFLICT DO NOTHING",
            [names],
        )
        for name in names:
            connection.execute("SELECT historical_data.create_symbol_partitions(%s)", [name])
        connection.execute(
            "INSERT INTO historical_data.price_history "
            "SELECT name, bar.opened_at, bar.open, bar.high, bar.low, bar.close, bar.volume "
            "FROM unnest(%s::text[]) AS name, (SELECT * FROM historical_data.price_history WHERE symbol = 'BTC' "
            "ORDER BY opened_at DESC LIMIT 1440) AS bar ON CONFLICT DO NOTHING",
            [names],
        )
    with session(database, output, dict.fromkeys(names, 250.0)) as child:
        wait_for(lambda: all(probabilities_path(output, name).exists() for name in names))
        time.sleep(5)
        process, before = psutil.Process(child.pid), time.monotonic()
        cpu = sum(process.cpu_times()[:2])
        time.sleep(seconds)
        share = 100 * (sum(process.cpu_times()[:2]) - cpu) / (time.monotonic() - before)
        age = max(time.time() - (written_at(probabilities_path(output, name)) or 0.0) for name in names)
        metrics = stop_session(child)
    total = metrics["latencies"]["total"]
    ok = metrics["overruns"] == 0 and age < 1.0
    return Result(
        f"{count} symbols refreshed at 1 Hz for {seconds:.0f} s (clones of BTC)",
        f"{metrics['overruns']:.0f} refreshes more than 1 s after the previous one, longest {metrics['gap']:.3f} s, "
        f"oldest file {age:.2f} s; tick to file p95 {total['p95']:.0f} ms; {share:.0f} % of a core",
        "-",
        "200 symbols",
        ok,
        {"overruns": metrics["overruns"], "gap": metrics["gap"], "cpu": share},
    )


def snapshots(database: Database, stored: int = 100_000, repeats: int = 500) -> Result:
    """Save a snapshot, load the latest, and search by content, with 100,000 snapshots stored."""
    position = {"trade": {"ticker": "T"}, "order_a": {"id": 1}, "order_b": None, "position_open_time": None}
    state = {
        "session": {
            "session_id": "bench",
            "session_start_time": datetime.now(UTC),
            "mode": "paper",
            "paper_campaign_id": None,
            "config": {},
            "loop_count": 1,
            "status": "running",
        },
        "positions": {"active_orders": {f"P{i}": position for i in range(10)}},
        "metrics": dict.fromkeys(METRICS),
        "risk_guard": dict.fromkeys(RISK_GUARD),
    }
    with database.connect("bench", None, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO live_data.session_snapshots (session_id, session_start_time, mode, config, loop_count, "
            "status, snapshot_type) SELECT 'bench-' || n %% 500, now(), 'paper', '{}', n, 'running', 'periodic' "
            "FROM generate_series(1, %s) AS n",
            [stored],
        )
        connection.execute(
            "INSERT INTO live_data.position_snapshots (snapshot_id, position_key, trade_data) "
            "SELECT snapshot_id, 'P', jsonb_build_object('ticker', 'T' || snapshot_id, 'count', 3) "
            "FROM live_data.session_snapshots WHERE session_id LIKE 'bench-%'"
        )
        connection.execute("VACUUM ANALYZE live_data.session_snapshots")
        connection.execute("VACUUM ANALYZE live_data.position_snapshots")
        store = StateStore(connection)
        row = connection.execute("SELECT max(snapshot_id) FROM live_data.position_snapshots").fetchone()
        assert row is not None
        wanted = [f'{{"ticker": "T{row[0] - i}"}}' for i in range(repeats)]
        search = "SELECT snapshot_id, position_key FROM live_data.position_snapshots WHERE trade_data @> %s::jsonb"
        saves = time_calls(
            lambda i: store.save(state | {"session": state["session"] | {"loop_count": i}}, SnapshotType.PERIODIC),
            repeats,
        )
        latest = time_calls(lambda i: store.load_latest(f"bench-{i % 500}"), repeats)
        found = time_calls(lambda i: connection.execute(search, [wanted[i]], prepare=True).fetchall(), repeats)
    p95 = [percentiles_ms(samples)["p95_ms"] for samples in (saves, latest, found)]
    return Result(
        f"snapshot save with 10 positions; latest of a session; JSONB search, at {stored:,} snapshots",
        f"p95 {p95[0]:.2f} ms; {p95[1]:.2f} ms; {p95[2]:.2f} ms",
        "-",
        "p95 under 5 ms; under 2 ms; under 2 ms",
        p95[0] < 5 and p95[1] < 2 and p95[2] < 2,
        {"p95_ms": p95},
    )


def measure(home: Path, prices: Path, only: Sequence[str]) -> list[Result]:
    """Build both symbols from their price files, and run all benchmarks or those in `only`."""
    build_symbols(home, prices)
    results = []

    def add(name: str, work: Callable[[], Result]) -> None:
        if not only or name in only:
            results.append(work())
            print(f"{name}: {results[-1].measured}", flush=True)

    add("daemon_recovery", lambda: daemon_recovery(home))
    with EmbeddedServer(home / "postgres").running() as url:
        database, output = Database(url), home / "bench"
        add("latency", lambda: tick_to_file(database, output / "latency"))
        add("hand_overs", lambda: hand_overs(database, output / "hand_overs"))
        add("standby_recovery", lambda: standby_recovery(database, output / "standby"))
        add("processor", lambda: processor(database, output / "processor"))
        add("snapshots", lambda: snapshots(database))
        add("many_symbols", lambda: many_symbols(database, output / "many"))
        add("memory", lambda: memory(database, output / "memory"))
    return results


def main() -> None:
    """Run the benchmarks; print and save the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__)
    add_prices_option(parser)
    parser.add_argument("--only", nargs="*", default=[], help="names of benchmarks")
    parser.add_argument("--json", type=Path, default=ROOT / ".benchmarks" / "live.json", help="output file")
    arguments = parser.parse_args()
    prices = chosen_prices(arguments)
    with temporary_server_folder("strikecast-bench-") as home:
        results = measure(Path(home), prices.folder, arguments.only)
    print_and_save(results, "reference", arguments.json, prices.source)


if __name__ == "__main__":
    main()
