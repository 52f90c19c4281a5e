"""`strikecast --version`."""

import platform
import subprocess
from importlib.metadata import version

import typer

from pipelines.cli import console


def print_versions(wanted: bool) -> None:
    """Print the versions of strikecast and of what it works with."""
    if wanted:
        from pipelines.storage.postgres.embedded import postgres_bin_dir

        server = subprocess.run(
            [postgres_bin_dir() / "postgres", "--version"], capture_output=True, text=True, check=True
        )
        console.print_lines(
            f"strikecast {version('strikecast')} (Python {platform.python_version()}, Dagster {version('dagster')}, "
            f"embedded PostgreSQL {server.stdout.split()[-1]})"
        )
        raise typer.Exit
