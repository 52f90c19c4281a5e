"""The system of the soak test: what it shows, what faults do to it, and what was recorded."""

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import psutil

from benchmarks.live_processes import wait_for
from benchmarks.soak_faults import Fault, faults
from pipelines.errors import StrikecastError
from pipelines.live.probability_writer import FENCE, probabilities_path
from pipelines.storage.postgres.connection import Database, Role
from pipelines.storage.postgres.embedded import EmbeddedServer

SYMBOLS = ("BTC", "ETH")
#: A fault that is not noticed or not over after so long is recorded as such.
LIMIT_SECONDS = 180.0
#: Inserts ticks of both symbols and logs those that the server acknowledged; reconnects when the server is gone. Before
#: each insert it reads from a file what it is to do wrong.
PRODUCER = """
import json, sys, time
from datetime import UTC, datetime, timedelta
import psycopg
url, log, rate, mode_file = sys.argv[1], open(sys.argv[2], "a", buffering=1), float(sys.argv[3]), sys.argv[4]
last = None
while True:
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=2) as connection:
            while True:
                time.sleep(1 / rate - time.time() % (1 / rate))
                mode = json.load(open(mode_file))
                if mode.get("silent"):
                    continue
                now = datetime.now(UTC) + timedelta(seconds=mode.get("skew", 0.0))
                now = now.replace(microsecond=now.microsecond // 1000 * 1000)
                wave = int(now.timestamp() * 1000) % 997 / 100
                rows = [("BTC", now, 100_000 + wave), ("ETH", now, 4_000 + wave / 25)]
                if mode.get("impossible"):
                    rows = [(symbol, at, price) for (symbol, at, _), price in zip(rows, (float("nan"), 0.0))]
                if mode.get("frozen") and last:
                    rows = last
                last = rows
                connection.execute(
                    "INSERT INTO live_data.price_log (symbol, ticked_at, price, source) "
                    "SELECT * FROM unnest(%s::text[], %s::timestamptz[], %s::float8[], %s::text[]) "
                    "ON CONFLICT DO NOTHING",
                    [*map(list, zip(*rows)), ["soak"] * 2],
                )
                for symbol, at, price in rows:
                    log.write(f"{symbol} {int(at.timestamp() * 1000)} {price!r}\\n")
    except (psycopg.Error, OSError, ValueError):
        time.sleep(0.2)
"""


@dataclass
class Occurrence:
    """One fault: its start and end (Unix time), and after how many seconds it was noticed and over; None: never."""

    fault: Fault
    at: float
    ended_at: float
    noticed_after: float | None = None
    over_after: float | None = None


@dataclass
class Soak:
    """One run: the faults, and the files that were written, as (Unix time, session)."""

    home: Path
    outside: Path
    rate: float
    rng: random.Random
    environment: dict[str, str]
    occurrences: list[Occurrence] = field(default_factory=list)
    written: dict[str, list[tuple[float, int]]] = field(default_factory=lambda: {symbol: [] for symbol in SYMBOLS})
    problems: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    producer: subprocess.Popen[bytes] | None = None
    up: subprocess.Popen[bytes] | None = None
    #: Titles of the alerts that arrived.
    messages: list[str] = field(default_factory=list)
    #: The process or session that the current fault hit, the size of the log and the number of messages before it.
    hit_pid: int = 0
    hit_session: int = 0
    _log_offset: int = 0
    _messages_before: int = 0

    # What the system shows

    @property
    def output(self) -> Path:
        return self.home / "output"

    @property
    def url(self) -> str:
        return EmbeddedServer(self.home / "postgres").url()

    @property
    def acknowledged(self) -> Path:
        return self.outside / "acknowledged.txt"

    @property
    def up_log(self) -> Path:
        return self.outside / "up.log"

    def pid_file(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            found: dict[str, Any] = orjson.loads((self.home / "up.json").read_bytes())
            return found
        return {}

    def payload(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(probabilities_path(self.output, "BTC").read_bytes())
        return found

    def session(self) -> int:
        return int(self.payload()["session"] or 0)

    def session_pid(self) -> int:
        return int(orjson.loads((self.output / FENCE).read_bytes())["pid"])

    def server_pid(self) -> int:
        return int((self.home / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])

    def is_fresh(self) -> bool:
        with suppress(OSError, ValueError):
            found = self.payload()
            age = (datetime.now(UTC) - datetime.fromisoformat(found["timestamp"])).total_seconds()
            return age < 2.0 and found["status"] != "stale"
        return False

    def file_says(self, text: str) -> bool:
        return any(text in reason for reason in self.payload()["reasons"])

    def logged(self, *texts: str) -> bool:
        """Whether `up` has logged one of the texts since the fault began."""
        with self.up_log.open(errors="replace") as file:
            file.seek(self._log_offset)
            content = " ".join(file.read().split())
        return any(text in content for text in texts)

    def alerted(self, key: str) -> bool:
        """Whether a message of such a problem has arrived since the fault began."""
        return any(key in title and "resolved" not in title for title in self.messages[self._messages_before :])

    def database_works(self) -> bool:
        with suppress(StrikecastError, OSError), self._connect() as connection:
            return connection.execute("SELECT count(*) FROM analytics.active_generation").fetchone() is not None
        return False

    def dagster_ticks_since(self, instant: float) -> bool:
        database = Database(Database(self.url).url_for("dagster"))
        with suppress(StrikecastError), database.connect("soak", None) as connection:
            row = connection.execute("SELECT max(timestamp) > to_timestamp(%s) FROM job_ticks", [instant]).fetchone()
            return bool(row and row[0])
        return False

    def _connect(self) -> Any:
        return Database(self.url, 5, 5).connect("soak", Role.READER)

    # What faults do

    def signal_up(self, number: signal.Signals) -> None:
        assert self.up is not None
        self.up.send_signal(number)

    def restart_up(self) -> None:
        self.signal_up(signal.SIGKILL)
        assert self.up is not None
        self.up.wait()
        self.start_up()

    def cut_connections(self) -> None:
        self.hit_session = self.session()
        with Database(self.url).connect("soak", None) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )

    def feed(self, **mode: float | bool) -> None:
        partial = self.outside / "mode.partial"
        partial.write_bytes(orjson.dumps(mode))
        partial.replace(self.outside / "mode.json")

    def fill_disk(self) -> None:
        with suppress(OSError), (self.home / "filler").open("wb") as file:
            while True:
                file.write(bytes(2**20))
                file.flush()

    def free_disk(self) -> None:
        (self.home / "filler").unlink()

    # The run

    @contextmanager
    def receiving_alerts(self) -> Iterator[str]:
        """Receive alerts by HTTP; yields the address for the settings."""
        messages = self.messages

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
                messages.append(content["title"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"json://127.0.0.1:{server.server_port}/"
            server.shutdown()

    def start_up(self) -> None:
        self.up = subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", "up", "--port", "0"],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=self.up_log.open("ab"),
        )

    def start_producer(self) -> None:
        self.feed()
        arguments = [self.url, str(self.acknowledged), str(self.rate), str(self.outside / "mode.json")]
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

    def make(self, fault: Fault) -> None:
        """Make a fault, and wait until it is noticed and over."""
        self._log_offset = self.up_log.stat().st_size
        self._messages_before = len(self.messages)
        begun = time.time()
        fault.begin(self)
        one = Occurrence(fault, begun, begun)
        self.occurrences.append(one)
        needs_end = True
        while time.time() - begun < LIMIT_SECONDS:
            if needs_end and time.time() - begun >= fault.seconds:
                fault.end(self)
                needs_end, one.ended_at = False, time.time()
            with suppress(OSError, ValueError, KeyError, psutil.Error):
                if one.noticed_after is None and fault.was_noticed is not None and fault.was_noticed(self):
                    one.noticed_after = time.time() - begun
                if not needs_end and one.over_after is None and fault.is_over(self):
                    one.over_after = time.time() - one.ended_at
            if one.over_after is not None and (one.noticed_after is not None or fault.was_noticed is None):
                break
            time.sleep(0.1)
        print(f"{datetime.now(UTC):%H:%M:%S} {fault.name}: {one.noticed_after} {one.over_after}", flush=True)

    def run(self, minutes: float) -> None:
        """Start the system, make faults for so many minutes, and stop it."""
        watcher = threading.Thread(target=self.watch)
        try:
            self.start_up()
            wait_for((self.home / "up.json").exists, 180)
            self.start_producer()
            watcher.start()
            wait_for(lambda: all(self.written.values()), 180)
            time.sleep(30)
            end = time.monotonic() + minutes * 60
            while time.monotonic() < end:
                for fault in self.rng.sample(faults(), len(faults())):
                    if time.monotonic() < end:
                        time.sleep(self.rng.uniform(8, 20))
                        self.make(fault)
            time.sleep(30)
        finally:
            if self.producer is not None:
                self.producer.kill()
            self.stop.set()
            watcher.join()
            if self.up is not None:
                self.up.terminate()
                self.up.wait()

    def checks(self) -> list[tuple[str, str, bool]]:
        """Each claim, what was measured, and whether the claim holds."""
        with (
            EmbeddedServer(self.home / "postgres").running() as url,
            Database(url).connect("soak", Role.READER) as connection,
        ):
            sessions = connection.execute(
                "SELECT session_id, status, resumed_from FROM live_data.session ORDER BY session_id"
            ).fetchall()
            loops = connection.execute(
                "SELECT loop_count FROM live_data.session_snapshots WHERE session_id LIKE 'live-%' ORDER BY snapshot_id"
            ).fetchall()
            features = connection.execute(
                "SELECT count(*) FILTER (WHERE missing_lags IS NOT NULL), count(*) FROM live_data.price_log "
                "WHERE source = 'soak' AND ticked_at - received_at <= interval '1 second'"
            ).fetchone()
        assert features is not None
        lost, acknowledged = self.lost(), self.acknowledged.read_text().count("\n")
        refreshes = sum(len(seen) for seen in self.written.values())
        running = [row for row in sessions if row[1] == "running"]
        chain = all(later[2] == earlier[0] for earlier, later in pairwise(sessions))
        falls = sum(later[0] < earlier[0] for earlier, later in pairwise(loops))
        excess = {symbol: sum(gap - 1.0 for gap in self.gaps(symbol) if gap > 1.0) for symbol in SYMBOLS}
        return [
            (
                "acknowledged ticks that are missing or differ",
                f"{len(lost)} of {acknowledged:,}",
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
                "ticks without stored momentum, also of those while no session ran, but not of those dated ahead",
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

    def longest_gap(self, start: float, end: float) -> float:
        """The longest time between two refreshes of BTC's file that overlaps an interval (Unix time)."""
        instants = [at for at, _ in self.written["BTC"]]
        gaps = [later - max(earlier, start) for earlier, later in pairwise(instants) if later > start and earlier < end]
        return max(gaps, default=0.0)

    def seconds(self) -> float:
        instants = [at for at, _ in self.written["BTC"]]
        return instants[-1] - instants[0]

    def lost(self) -> list[int]:
        """Instants (Unix time, ms) of acknowledged ticks that are not stored as they were sent."""
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
        return [key[1] for key, price in acknowledged.items() if stored.get(key) != price]
