"""What a worker checks before it takes runs: each finding has an exit code and a message with its remedy."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from uuid import uuid4

import dagster as dg
from kombu import Connection as BrokerConnection
from kombu import Exchange, Queue

from pipelines.deployment import configured_database, dagster_environment
from pipelines.errors import DatabaseError, SchemaVersionError, SettingsError, SharedFilesError, single_line
from pipelines.processes.pid_file import read_pid_file
from pipelines.service.dagster_home import write_dagster_home
from pipelines.service.workers.celery_app import CONNECT_SECONDS, broker_tls, broker_url
from pipelines.service.workers.identity import Identity, host_identity, own_identity
from pipelines.settings import Settings
from pipelines.storage.files.archive import Archive
from pipelines.storage.monitoring.server_state import read_server_clock
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.schema import require_current

#: Retention, freshness and schedules compare times of several machines; NTP keeps them within milliseconds.
MAX_SKEW_SECONDS = 2.0


class Exit(IntEnum):
    """Exit codes of `strikecast worker`; 0 is a stop by a signal, 1 an error of settings, 3 a refused run."""

    HOME = 10
    DATABASE = 11
    SCHEMA = 12
    CODE = 13
    SETTINGS = 14
    VERSIONS = 15
    CLOCK = 16
    BROKER = 17
    SHARED_FILES = 18


@dataclass(frozen=True)
class Finding:
    """Why a worker must not start."""

    code: Exit
    message: str


def findings(settings: Settings) -> Iterator[Finding]:
    """Why this installation must not be a worker; call with workers configured. It prepares the home folder as well."""
    if read_pid_file(settings) is not None:
        yield Finding(
            Exit.HOME,
            f"{settings.home} is the home folder of a host, where `strikecast up` runs: give the worker one of its "
            "own, as in STRIKECAST_HOME=/var/lib/strikecast-worker",
        )
        return
    database = configured_database(settings)
    of_database = list(_of_database(database))
    yield from of_database
    if (problem := broker_problem(settings)) is not None:
        yield Finding(Exit.BROKER, problem)
    yield from _of_shared_files(settings)
    if any(one.code is Exit.DATABASE for one in of_database):
        return  # Dagster's is on the same server, and would be tried again for seconds
    os.environ.update(dagster_environment(settings, database))
    write_dagster_home(settings)
    try:
        with dg.DagsterInstance.get() as instance:
            host = host_identity(instance)
    except Exception as error:  # noqa: BLE001 (Dagster's storage raises errors of several libraries)
        where = f"Dagster's database {settings.dagster_database} at {database.describe()}"
        yield Finding(Exit.DATABASE, f"{where} cannot be used: {single_line(str(error))}")
        return
    if host is None:
        yield Finding(
            Exit.CODE, "no host has been started with [workers] on this database yet: run `strikecast up` there first"
        )
        return
    yield from compare(own_identity(settings), host)


def _of_database(database: Database) -> Iterator[Finding]:
    try:
        with database.connect("worker checks", None) as connection:
            ahead = read_server_clock(connection).ahead_seconds
        require_current(database)
    except SchemaVersionError as error:
        yield Finding(Exit.SCHEMA, str(error))
    except DatabaseError as error:
        yield Finding(Exit.DATABASE, str(error))
        return
    if abs(ahead) > MAX_SKEW_SECONDS:
        direction = "ahead of" if ahead > 0 else "behind"
        yield Finding(
            Exit.CLOCK,
            f"the database's clock is {abs(ahead):.1f} s {direction} this machine's ({MAX_SKEW_SECONDS:g} s are "
            "accepted): synchronize both by NTP (timedatectl set-ntp true)",
        )


def broker_problem(settings: Settings) -> str | None:
    """Why the broker cannot be used: its address, its login, or what that may do; None when all is well.

    A message is sent and read by a queue of its own, which ends with the connection.
    """
    tls, prefix = broker_tls(settings) or False, settings.workers.queue_prefix
    name = f"{prefix}.check.{uuid4().hex}"
    queue = Queue(name, Exchange(prefix, type="topic"), routing_key=name, exclusive=True, durable=False)
    try:
        with BrokerConnection(broker_url(settings), ssl=tls, connect_timeout=CONNECT_SECONDS) as broker:
            bound = queue(broker.default_channel)
            bound.declare()
            broker.Producer().publish({}, exchange=prefix, routing_key=name)
            bound.get(no_ack=True)
    except Exception as error:  # noqa: BLE001 (kombu raises errors of its transports, of TLS and of the system)
        reason = single_line(str(error)) or type(error).__name__
        return (
            f"the broker of workers.broker_url cannot be used: {reason}; check its host, port, user, password and "
            f"virtual host, and the rights to {prefix}.* (`rabbitmqctl list_permissions -p VHOST`)"
        )
    return None


def _of_shared_files(settings: Settings) -> Iterator[Finding]:
    if settings.shared_files.url is None:
        return
    try:
        Archive.of(settings).probe()
    except (SettingsError, SharedFilesError) as error:
        yield Finding(Exit.SHARED_FILES, f"the shared place of shared_files.url cannot be used: {error}")


def compare(own: Identity, host: Identity) -> Iterator[Finding]:
    """How a worker's installation differs from its host's."""
    if own.code != host.code:
        yield Finding(
            Exit.CODE,
            f"the code differs from the host's: {own.code[:12]} here, {host.code[:12]} there; install the same release "
            "or commit on both, without local changes (a running host uses the code that it was started with)",
        )
    if differing := own.differing_settings(host):
        yield Finding(
            Exit.SETTINGS,
            f"settings differ from the host's: {', '.join(differing)}; copy these tables of strikecast.toml from the "
            "host (it uses those that it was started with)",
        )
    if versions := own.differing_versions(host):
        yield Finding(
            Exit.VERSIONS,
            f"versions differ from the host's: {', '.join(versions)}; install both from the same lock files, with the "
            "same Python",
        )
