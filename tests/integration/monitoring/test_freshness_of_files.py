"""Files of a real session whose prices stop, whose disk is full, or which ends: judged with its record."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from live_sessions import insert_half_an_hour_of_ticks, insert_tick, insert_ticks_until, session
from small_disks import fill, small_disk
from waiting import wait_until

from pipelines.domain.models.freshness import Cause, Freshness, Status, judge
from pipelines.live.probability_reader import read_view
from pipelines.storage.live.health_queries import read_health, with_timeouts
from pipelines.storage.postgres.connection import Database


def judged(database: Database, folder: Path, symbol: str) -> Freshness:
    health = read_health(with_timeouts(database), [symbol])
    return judge(read_view(folder, symbol, datetime.now(UTC)).file, health.session)


def test_prices_that_stop_while_the_session_lives_name_the_feed(
    database: Database, build: Callable[..., int], tmp_path: Path
) -> None:
    build("QUIET", seed=1)
    with session(database, tmp_path, "QUIET"):
        wait_until(lambda: judged(database, tmp_path, "QUIET").status is Status.STALE, "a file without a price")
        without = judged(database, tmp_path, "QUIET")
        assert (without.cause, without.age_seconds) == (Cause.PRICES, None)
        assert "no price of QUIET has arrived yet (source: " in without.reasons[0]
        insert_half_an_hour_of_ticks(database, "QUIET", 100.0)
        insert_ticks_until(database, tmp_path, "QUIET", 100.0, "a fresh file", status="ok")
        wait_until(lambda: judged(database, tmp_path, "QUIET").is_overdue(3.0), "the alert")
        old = judged(database, tmp_path, "QUIET")
        assert (old.status, old.cause) == (Status.STALE, Cause.PRICES)
        assert old.reasons[0].endswith("old (feed external)")


@pytest.mark.needs("a mount")
def test_a_session_on_a_full_disk_records_why_it_cannot_write(
    database: Database, build: Callable[..., int], tmp_path: Path
) -> None:
    build("FULL", seed=1)
    insert_half_an_hour_of_ticks(database, "FULL", 100.0)
    with small_disk(tmp_path / "disk", "256k") as disk:
        with session(database, disk, "FULL"):
            insert_ticks_until(database, disk, "FULL", 100.0, "a fresh file", status="ok")
            filler = fill(disk)

            def is_old() -> bool:
                fill(disk)  # again: a replacement in progress leaves the space of the file that it replaced
                return judged(database, disk, "FULL").status is Status.UNWRITTEN

            wait_until(is_old, "an old file")
            wait_until(lambda: judged(database, disk, "FULL").cause is Cause.STORAGE, "the heartbeat with the reason")
            reasons = judged(database, disk, "FULL").reasons
            assert reasons[1].endswith(f"runs but cannot write: {disk}: No space left on device")
            filler.unlink()

            def is_fresh() -> bool:
                insert_tick(database, "FULL", 100.0)
                return judged(database, disk, "FULL").status is Status.OK

            wait_until(is_fresh, "the end of the failure")
        wait_until(lambda: judged(database, disk, "FULL").status is Status.UNWRITTEN, "an old file")
        assert judged(database, disk, "FULL").reasons[1] == "no live session is running"
