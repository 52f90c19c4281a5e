"""Runs of one symbol wait for each other, whoever starts them, and all succeed."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from price_file_formats import lines, sample_bars, stamp
from system import System

from pipelines.errors import BuildError
from pipelines.storage.postgres import locks
from pipelines.storage.postgres.connection import Role
from pipelines.storage.postgres.locks import hold_run_lock

HEADER = "timestamp,open,high,low,close,volume"


def test_builds_and_an_ingestion_at_once_all_succeed(system: System, tmp_path: Path) -> None:
    with system.database.connect("test", Role.READER) as connection:
        query = (
            "SELECT max(opened_at), (array_agg(close ORDER BY opened_at DESC))[1] FROM historical_data.price_history"
        )
        row = connection.execute(query).fetchone()
    assert row is not None
    first = row[0] + timedelta(minutes=1)
    assert first < datetime.now(UTC)
    path = tmp_path / "btc.csv"
    bars = sample_bars(20, first=first - timedelta(days=60), price=row[1])  # before the newest bar: a build notices it
    path.write_text(lines(HEADER, [(stamp(bar), *bar.values) for bar in bars]))
    commands = [["build", "BTC"], ["build", "BTC"], ["ingest", "BTC", str(path)], ["build", "BTC"]]
    with ThreadPoolExecutor(len(commands)) as threads:
        finished = list(threads.map(lambda command: system.run(*command), commands))
    assert [(process.returncode, process.stderr[-300:] if process.returncode else "") for process in finished] == [
        (0, "")
    ] * len(commands)
    assert "inserted" in finished[2].stdout
    with system.database.connect("test", Role.READER) as connection:
        states = connection.execute(
            "SELECT DISTINCT state FROM analytics.model_version WHERE symbol = 'BTC' AND origin = 'built'"
        ).fetchall()
    assert states == [("complete",)]


def test_a_run_that_waits_too_long_says_for_what(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "SYMBOL_WAIT_SECONDS", 1)
    messages: list[str] = []
    with hold_run_lock(system.database, "first", "WAIT"):
        with hold_run_lock(system.database, "other symbol", "ELSE"):
            pass
        with (
            pytest.raises(BuildError, match="another run of WAIT has not ended within"),
            hold_run_lock(system.database, "second", "WAIT", messages.append),
        ):
            pass
    assert messages == ["waiting for another run of WAIT to end"]
    with hold_run_lock(system.database, "third", "WAIT"):
        pass
