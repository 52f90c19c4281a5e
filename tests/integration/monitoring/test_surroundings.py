"""Disks, replication slots and clocks: alerts and findings of the audit from a real server.

A machine's clock cannot be set for a test. The server's is shifted by a function `clock_timestamp` in a schema that the
connection searches before `pg_catalog`; that of a price source is really ahead, as its ticks are.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from live_sessions import insert_tick
from small_disks import fill, small_disk

from pipelines.domain.monitoring.alerts import AlertLimits, Problem, RunbookHeading, Surroundings, surroundings_problems
from pipelines.domain.monitoring.audit.findings import explain
from pipelines.monitoring.audit.declarations import explanations
from pipelines.monitoring.surroundings import clock_is_synchronised, measure, places, read_disks, read_surroundings
from pipelines.settings import Settings, load_settings
from pipelines.storage.postgres.connection import Database, Role

#: Less than the server writes for one statement.
ANY_WAL = {"most_retained_gibibytes": 1e-9, "least_free_pct": 0.0, "least_free_gibibytes": 0.0}


def problems(settings: Settings, database: Database) -> list[Problem]:
    with database.connect("test", Role.AUDITOR, autocommit=True) as connection:
        return surroundings_problems(read_surroundings(settings, connection), settings.alerts)


def findings(settings: Settings, database: Database) -> list[str]:
    """Titles and evidence in the audit."""
    with database.connect("test", Role.AUDITOR, autocommit=True) as connection:
        found = explain(measure(settings, connection).detections, explanations())
    return [f"{one.title}: {one.evidence}" for one in found]


@contextmanager
def slot(database: Database) -> Iterator[str]:
    """A physical slot that retains WAL and that nothing reads."""
    name = f"strikecast_test_{os.getpid()}"
    with database.connect("test", None, autocommit=True) as connection:
        connection.execute("SELECT pg_create_physical_replication_slot(%s, true)", [name])
        try:
            connection.execute("CREATE TABLE public.wal AS SELECT generate_series(1, 100000) AS n")
            yield name
        finally:
            connection.execute("DROP TABLE public.wal")
            connection.execute("SELECT pg_drop_replication_slot(%s)", [name])


def test_a_slot_that_nothing_reads_is_an_alert_and_a_finding_until_it_is_dropped(database: Database) -> None:
    settings = load_settings(alerts=ANY_WAL)
    with slot(database) as name:
        [found] = [one for one in problems(settings, database) if one.key == f"slot {name}"]
        assert found.heading is RunbookHeading.SLOT
        assert found.message.startswith(f"replication slot {name} is not read and retains ")
        title = f"replication slot {name} retains WAL that nothing reads"
        assert [one for one in findings(settings, database) if one.startswith(f"{title}: {found.message}")]
        assert not [one for one in problems(load_settings(), database) if one.key.startswith("slot")], "less than 1 GiB"
    assert not [one for one in problems(settings, database) if one.key == f"slot {name}"]


def test_the_servers_clock_is_compared_with_this_machines(database: Database) -> None:
    settings = load_settings(alerts={"least_free_pct": 0.0, "least_free_gibibytes": 0.0})
    assert [one for one in problems(settings, database) if one.key.startswith("clock")] == []
    with database.connect("test", None, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA shifted; GRANT USAGE ON SCHEMA shifted TO PUBLIC")
        connection.execute(
            "CREATE FUNCTION shifted.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS "
            "$$SELECT pg_catalog.clock_timestamp() - interval '30 s'$$"
        )
    try:
        with database.connect("test", Role.AUDITOR, autocommit=True) as connection:
            connection.execute("SET search_path = shifted, pg_catalog")
            [found] = surroundings_problems(read_surroundings(settings, connection), settings.alerts)
            assert (found.key, found.level) == ("clock the database server", 2)
            assert found.message == "the clock of the database server is 30 s behind this machine's"
            [detection] = measure(settings, connection).detections
            assert detection.evidence == found.message
    finally:
        with database.connect("test", None, autocommit=True) as connection:
            connection.execute("DROP SCHEMA shifted CASCADE")


def test_a_source_whose_prices_are_dated_ahead_of_their_arrival_has_a_wrong_clock(database: Database) -> None:
    settings = load_settings(feed="external")
    insert_tick(database, "BTC", 100.0, datetime.now(UTC))
    assert not [one for one in problems(settings, database) if one.key.startswith("clock")]
    insert_tick(database, "BTC", 100.0, datetime.now(UTC) + timedelta(seconds=100))
    [found] = [one for one in problems(settings, database) if one.key.startswith("clock")]
    assert found.heading is RunbookHeading.CLOCK
    assert re.fullmatch(r"the clock of the price source \w+ is \d+ s ahead of this machine's", found.message)
    assert not [one for one in problems(load_settings(), database) if one.key.startswith("clock")], "a replay has none"


@pytest.mark.needs("a mount")
def test_each_disk_is_watched_once_and_a_full_one_is_named_with_its_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with small_disk(tmp_path / "disk", "1m") as disk:
        settings = load_settings(home=home, backups=disk, backup={"wal_archive": str(disk)})
        folders = places(settings, data_directory=home)
        assert set(folders.values()) >= {home, disk, settings.dagster_home, settings.reports_dir}
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        fill(disk)
        found = {one.what: one for one in read_disks(folders)}
        assert found["the backups"].also == ("the WAL archive",)
        assert {"Dagster", "the reports", "PostgreSQL's data", "PostgreSQL's WAL"} <= set(found["the home folder"].also)
        [problem] = surroundings_problems(Surroundings([found["the backups"]]), AlertLimits())
        assert problem.key == "disk the backups"
        assert (
            f"({disk}), also of the WAL archive, is full: No space left on device (0 B free, 0.0 %)" in problem.message
        )


def test_the_folders_of_a_local_server_are_watched(database: Database) -> None:
    with database.connect("test", Role.AUDITOR, autocommit=True) as connection:
        disks = read_surroundings(load_settings(), connection).disks
    watched = {what for one in disks for what in (one.what, *one.also)}
    assert "PostgreSQL's data" in watched


def test_whether_the_clock_is_set_by_a_time_service_is_measured() -> None:
    assert clock_is_synchronised() in {True, False}
