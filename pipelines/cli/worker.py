"""`strikecast worker`."""

import os
from typing import Annotated

import typer
from filelock import FileLock, Timeout

from pipelines.cli import console
from pipelines.cli.arguments import command_settings
from pipelines.configuration.settings_file import exposed_credentials
from pipelines.errors import AlreadyRunningError, SettingsError
from pipelines.orchestration.queues import Queue
from pipelines.service.dagster_home import require_workers_extra
from pipelines.settings import Settings


def worker(
    queues: Annotated[
        list[Queue] | None, typer.Option("--queue", help="Take runs of this queue; repeatable; by default of all.")
    ] = None,
    slots: Annotated[
        int | None, typer.Option(min=1, max=256, help="Runs at once; by default as many as the machine has CPUs.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Check whether a worker could start here, and end.")] = False,
) -> None:
    """Execute runs of a host on this machine, until SIGTERM or Ctrl-C and the end of the runs in progress.

    It needs `[workers]` of the host's settings, and a home folder of its own: docs/workers.md.

    Exit codes: 1 settings, 3 refused a run, 10 home folder, 11 database, 12 schema, 13 code, 14 settings that differ
    from the host's, 15 versions, 16 clock, 17 broker, 18 shared files.

    Examples: `strikecast worker --check`, `strikecast worker --queue builds --slots 2`
    """
    settings = command_settings()
    _require_extra(settings)
    if (warning := exposed_credentials()) is not None:
        console.log(warning)
    from pipelines.service.workers.identity import own_identity
    from pipelines.service.workers.start_checks import findings
    from pipelines.service.workers.worker import Worker, worker_name

    try:
        lock = FileLock(settings.home / "worker.lock", mode=0o600).acquire(timeout=0)
    except Timeout:
        raise AlreadyRunningError(
            f"a worker runs with the home folder {settings.home} already: give each its own, by STRIKECAST_HOME"
        ) from None
    with lock:
        found = list(findings(settings))
        for one in found:
            console.log(one.message)
        if found:
            raise typer.Exit(found[0].code)
        name, taken, count = worker_name(settings.home), queues or list(Queue), slots or os.cpu_count() or 1
        if check:
            console.log(
                f"{name} could start: database, schema, code, settings, versions, clock and broker are as needed"
            )
            return
        raise typer.Exit(Worker(settings, own_identity(settings), console.log, name).run(taken, count))


def _require_extra(settings: Settings) -> None:
    """Raise SettingsError unless workers are configured and what they need is installed."""
    if not settings.has_workers:
        raise SettingsError(
            "workers.broker_url is not set: copy [workers] and database_url from the host's settings (docs/workers.md)"
        )
    require_workers_extra()
