"""Kill parts of the whole system at random: `python -m benchmarks.soak [--minutes 15] [--write FILE]`.

`strikecast up` runs with a separate producer of ten prices a second and symbol. Every 15 to 40 s, the live session, the
database server or the producer is killed (SIGKILL). At the end, every acknowledged tick must be stored.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import orjson

from benchmarks.live_processes import wait_for
from benchmarks.results import replace_between_markers
from pipelines.live.probability_writer import FENCE, probabilities_path
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.embedded import EmbeddedServer

SYMBOLS = ("BTC", "ETH")
MARKS = "<!-- soak -->", "<!-- /soak -->"
#: Inserts ticks of both symbols and logs those that the server acknowledged; reconnects when the server is gone.
PRODUCER = """
import sys, time
from datetime import UTC, datetime
import psycopg
url, log, rate = sys.argv[1], open(sys.argv[2], "a", buffering=1), float(sys.argv[3])
while True:
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=2) as connection:
            while True:
                time.sleep(1 / rate - time.time() % (1 / rate))
                now = datetime.now(UTC)
                now = now.replace(microsecond=now.microsecond // 1000 * 1000)
                wave = int(now.timestamp() * 1000) % 997 / 100
                rows = [("BTC", now, 100_000 + wave), ("ETH", now, 4_000 + wave / 25)]
                connection.execute(
                    "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) "
                    "SELECT * FROM unnest(%s::text[], %s::timestamptz[], %s::float8[], %s::text[]) "
                    "ON CONFLICT DO NOTHING",
                    [*map(list, zip(*rows)), ["soak"] * 2],
                )
                for symbol, at, price in rows:
                    log.write(f"{symbol} {int(at.timestamp() * 1000)} {price!r}\\n")
    except psycopg.Error:
        time.sleep(0.2)
"""


@dataclass
class Kill:
    """A killed part, when (Unix time), and how long the file was not refreshed after it; 0 if it was."""

    at: float
    part: str
    gap_seconds: float = 0.0


@dataclass
class Soak:
    """One run: the kills, and the files that were written, as (Unix time, session)."""

    home: Path
    rate: float
    rng: random.Random
    environment: dict[str, str]
    kills: list[Kill] = field(default_factory=list)
    written: dict[str, list[tuple[float, int]]] = field(default_factory=lambda: {symbol: [] for symbol in SYMBOLS})
    problems: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    producer: subprocess.Popen[bytes] | None = None

    @property
    def output(self) -> Path:
        return self.home / "output"

    @property
    def url(self) -> str:
        return EmbeddedServer(self.home / "postgres").url()

    @property
    def acknowledged(self) -> Path:
        return self.home / "acknowledged.txt"

    def start_producer(self) -> None:
        arguments = [self.url, str(self.acknowledged), str(self.rate)]
        self.producer = subprocess.Popen([sys.executable, "-c", PRODUCER, *arguments])

    def watch(self) -> None:
        """Read every version of the files; record those that are invalid or from an earlier session."""
        while not self.stop.is_set():
            for symbol in SYMBOLS:
                path = probabilities_path(self.output, symbol)
                try:
                    at = path.stat().st_mtime_ns / 1e9
                    seen = self.written[symbol]
                    if seen and at == seen[-1][0]:
                        continue
                    payload = orjson.loads(path.read_bytes())
                except FileNotFoundError:
                    continue
                except orjson.JSONDecodeError as error:
                    self.problems.append(f"{symbol}: invalid JSON: {error}")
                    continue
                if seen and payload["session"] < seen[-1][1]:
                    self.problems.append(f"{symbol}: session {payload['session']} wrote after {seen[-1][1]}")
                seen.append((at, payload["session"]))
            time.sleep(0.003)

    def kill(self) -> None:
        """Kill a random part."""
        part = self.rng.choice(["session", "server", "feed"])
        try:
            if part == "session":
                os.kill(orjson.loads((self.output / FENCE).read_bytes())["pid"], signal.SIGKILL)
            elif part == "server":
                pid = int((self.home / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])
                os.kill(pid, signal.SIGKILL)
            else:
                assert self.producer is not None
                self.producer.kill()
                self.producer.wait()
                threading.Timer(self.rng.uniform(1, 4), self.start_producer).start()
        except (FileNotFoundError, ProcessLookupError):
            return  # not running
        self.kills.append(Kill(time.time(), part))
        print(f"{datetime.now(UTC):%H:%M:%S} killed the {part}", flush=True)

    def run(self, minutes: float) -> None:
        """Start the system, kill parts of it for so many minutes, and stop it."""
        up = subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", "up", "--port", "0"],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=(self.home / "up.log").open("wb"),
        )
        watcher = threading.Thread(target=self.watch)
        try:
            wait_for((self.home / "up.json").exists, 180)
            self.start_producer()
            watcher.start()
            wait_for(lambda: all(self.written.values()), 180)
            time.sleep(5)
            end = time.monotonic() + minutes * 60
            while time.monotonic() < end:
                time.sleep(self.rng.uniform(15, 40))
                self.kill()
            time.sleep(30)
        finally:
            if self.producer is not None:
                self.producer.kill()
            self.stop.set()
            watcher.join()
            up.terminate()
            up.wait()

    def checks(self) -> list[tuple[str, str, bool]]:
        """Each claim, what was measured, and whether the claim holds."""
        sent = [line.split() for line in self.acknowledged.read_text().splitlines() if line.count(" ") == 2]
        acknowledged = {(symbol, int(ms)): float(price) for symbol, ms, price in sent}
        with (
            EmbeddedServer(self.home / "postgres").running() as url,
            Database(url).connect("soak", Role.READER) as connection,
        ):
            stored = {
                (row[0], row[1]): row[2]
                for row in connection.execute(
                    "SELECT symbol, round(extract(epoch FROM ticked_at) * 1000)::bigint, price "
                    "FROM live_data.price_log WHERE source = 'soak'"
                ).fetchall()
            }
            sessions = connection.execute(
                "SELECT session_id, status, resumed_from FROM live_data.session ORDER BY session_id"
            ).fetchall()
            loops = connection.execute(
                "SELECT loop_count FROM live_data.session_snapshots WHERE session_id LIKE 'live-%' ORDER BY snapshot_id"
            ).fetchall()
            features = connection.execute(
                "SELECT count(*) FILTER (WHERE missing_lags IS NOT NULL), count(*) FROM live_data.price_log "
                "WHERE source = 'soak'"
            ).fetchone()
        assert features is not None
        lost = [key for key, price in acknowledged.items() if stored.get(key) != price]
        refreshes = sum(len(seen) for seen in self.written.values())
        running = [row for row in sessions if row[1] == "running"]
        chain = all(later[2] == earlier[0] for earlier, later in pairwise(sessions))
        falls = sum(later[0] < earlier[0] for earlier, later in pairwise(loops))
        excess = {symbol: sum(gap - 1.0 for gap in self.gaps(symbol) if gap > 1.0) for symbol in SYMBOLS}
        return [
            (
                "acknowledged ticks that are missing or differ",
                f"{len(lost)} of {len(acknowledged):,}",
                not lost,
            ),
            (
                "files that were torn, invalid, or written by an overtaken session",
                f"{len(self.problems)} of {refreshes:,}",
                not self.problems,
            ),
            ("sessions recorded as running after the end", f"{len(running)} of {len(sessions)}", not running),
            ("sessions that did not resume from the previous one", "0" if chain else "some", chain),
            ("snapshots whose total of cycles decreased", f"{falls} of {len(loops)}", falls == 0),
            (
                "ticks without stored momentum, including those that arrived while no session ran",
                f"{features[1] - features[0]:,} of {features[1]:,}",
                features[0] == features[1],
            ),
            (
                "seconds without a refresh beyond the allowed one second, BTC / ETH",
                f"{excess['BTC']:.1f} / {excess['ETH']:.1f} of {self.seconds():.0f}",
                True,
            ),
        ]

    def gaps(self, symbol: str) -> list[float]:
        instants = [at for at, _ in self.written[symbol]]
        return [later - earlier for earlier, later in pairwise(instants)]

    def seconds(self) -> float:
        instants = [at for at, _ in self.written["BTC"]]
        return instants[-1] - instants[0]

    def compute_gaps(self) -> None:
        """Compute the gap after each kill, until the next."""
        for i, kill in enumerate(self.kills):
            until = self.kills[i + 1].at if i + 1 < len(self.kills) else float("inf")
            gaps = [
                later - max(earlier, kill.at)
                for (earlier, _), (later, _) in pairwise(self.written["BTC"])
                if later > kill.at and earlier < until and later - earlier > 1.0
            ]
            kill.gap_seconds = max(gaps, default=0.0)


def report(soak: Soak, minutes: float) -> str:
    """The claims and the kills, as Markdown."""
    kills, rate = len(soak.kills), soak.rate
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, {minutes:g} minutes, {rate:g} ticks a second and symbol, {kills} kills.",
        "",
        "| claim | measured | holds |",
        "|---|---|---|",
    ]
    lines += [f"| {claim} | {figure} | {'yes' if holds else '**no**'} |" for claim, figure, holds in soak.checks()]
    began = soak.written["BTC"][0][0]
    lines += ["", "| at | killed | file not refreshed for |", "|---:|---|---:|"]
    lines += [
        f"| {int(kill.at - began) // 60}:{int(kill.at - began) % 60:02d} | {kill.part} "
        f"| {f'{kill.gap_seconds:.1f} s' if kill.gap_seconds else '-'} |"
        for kill in soak.kills
    ]
    return "\n".join(lines)


def main() -> None:
    """Prepare the system, kill its parts, and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--rate", type=float, default=10.0, help="ticks a second and symbol")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path, help="put the result between the marks in this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="strikecast-soak-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        environment = {**os.environ, "STRIKECAST_HOME": folder, "STRIKECAST_FEED": "external"}
        for command in (["sample", "BTC", "--days", "30"], ["sample", "ETH", "--days", "30"], ["build"]):
            subprocess.run([sys.executable, "-m", "pipelines.cli", *command], env=environment, check=True)
        soak = Soak(home, arguments.rate, random.Random(arguments.seed), environment)  # noqa: S311 (nothing secret)
        soak.run(arguments.minutes)
        soak.compute_gaps()
        text = report(soak, arguments.minutes)
        print(text)
        for problem in soak.problems[:20]:
            print(problem)
    if arguments.write is not None:
        replace_between_markers(arguments.write, MARKS, text)


if __name__ == "__main__":
    main()
