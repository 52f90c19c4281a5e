"""The record of a live session: snapshots, totals over consecutive sessions, reports."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pipelines.errors import NoDataError
from pipelines.live.metrics import SessionMetrics
from pipelines.log import Log
from pipelines.storage.live.sessions import APPLICATION, Leadership, latest_totals
from pipelines.storage.live.state_store import SnapshotType, StateStore, save_state
from pipelines.storage.postgres.connection import Database, Role, full_message

REPORT_EVERY_MINUTES = 10


@contextmanager
def log_errors(log: Log, operation: str) -> Iterator[None]:
    """Log an exception instead of raising it: no record is worth a missed refresh."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 (a lost connection ends the session through its heartbeat)
        log(f"{operation}: {type(error).__name__}: {full_message(error)}")


@dataclass
class SessionRecorder:
    """Saves the snapshots of a session through the leader's connection.

    `config`: the session's feed, symbols and run, stored with each snapshot; `ended`: why it ended, None while it runs;
    `earlier_totals`: counters of the earlier sessions, None until they have been read.
    """

    database: Database
    leadership: Leadership
    config: Mapping[str, Any]
    metrics: SessionMetrics
    log: Log
    earlier_totals: Mapping[str, Any] | None = None
    ended: str | None = None

    async def run(self, on_report: "Callable[[SessionRecorder], None]") -> None:
        """Save a snapshot now and each minute, and call `on_report` after one minute and every ten."""
        with log_errors(self.log, "snapshots of crashed sessions"):
            await self._save_crashed_sessions()
        with log_errors(self.log, "snapshot"):
            await self.save_snapshot(SnapshotType.INITIAL)
        minutes = 0
        while True:
            await asyncio.sleep(60.0 - time.time() % 60.0)
            minutes += 1
            if self.earlier_totals is None:
                await self.read_totals()
            with log_errors(self.log, "snapshot"):
                await self.save_snapshot(SnapshotType.PERIODIC)
            if minutes == 1 or minutes % REPORT_EVERY_MINUTES == 0:
                with log_errors(self.log, "report"):
                    await asyncio.to_thread(on_report, self)

    async def read_totals(self) -> None:
        """Read the totals of the earlier sessions."""
        with log_errors(self.log, "totals of earlier sessions"):
            self.earlier_totals = await latest_totals(self.leadership.connection)

    def totals(self) -> dict[str, float]:
        """The session's counters plus those of the earlier sessions."""
        earlier = {name: value for name, value in (self.earlier_totals or {}).items() if isinstance(value, int | float)}
        return {name: value + earlier.get(name, 0) for name, value in self.metrics.counters().items()}

    async def save_snapshot(self, snapshot_type: SnapshotType) -> None:
        """Save the session's state, which has no positions. Its totals are null while earlier ones are unknown."""
        totals = self.totals()
        stored_totals = None if self.earlier_totals is None else totals
        state = {
            "session": {
                "session_id": _snapshot_id(self.leadership.session),
                "session_start_time": self.leadership.started_at,
                "mode": "live",
                "paper_campaign_id": None,
                "config": {**self.config, **self.metrics.snapshot(), "totals": stored_totals},
                "loop_count": int(totals["cycles"]),
                "status": "stopped" if snapshot_type is SnapshotType.ON_STOP else "running",
            },
            "positions": {"active_orders": {}},
            "metrics": None,
            "risk_guard": None,
        }
        await save_state(self.leadership.connection, state, snapshot_type)

    async def _save_crashed_sessions(self) -> None:
        """Save the last state of each crashed session again, as crashed."""
        for session in self.leadership.crashed:
            state = await asyncio.to_thread(self._last_state, session)
            if state is not None:
                state["session"]["status"] = "crashed"
                await save_state(self.leadership.connection, state, SnapshotType.ON_STOP)

    def _last_state(self, session: int) -> dict[str, Any] | None:
        with self.database.connect(APPLICATION, Role.LIVE) as connection, suppress(NoDataError):
            return StateStore(connection).load_latest(_snapshot_id(session))
        return None


def _snapshot_id(session: int) -> str:
    return f"live-{session}"
