"""`strikecast serve` in a process of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from waiting import TIMEOUT_SECONDS, wait_until


@dataclass(frozen=True)
class Served:
    """A running `serve`: its home folder, process, HTTP client and log."""

    home: Path
    process: subprocess.Popen[bytes]
    client: httpx.Client
    log: Callable[[], str]

    @property
    def url(self) -> str:
        return str(self.client.base_url)

    def health(self) -> tuple[int, dict[str, Any]]:
        response = self.client.get("/health")
        return response.status_code, response.json()

    def is_healthy(self) -> bool:
        return self.health()[0] == 200

    def problems(self) -> list[str]:
        return list(self.health()[1]["problems"])


@contextmanager
def serving(home: Path, **settings: str) -> Iterator[Served]:
    """`strikecast serve` on a port of its own, with the home folder and STRIKECAST_* settings given."""
    home.mkdir(parents=True, exist_ok=True)
    log_file = home / "serve.log"
    variables = {f"STRIKECAST_{name.upper()}": value for name, value in settings.items()}
    with log_file.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", "serve", "--port", "0"],
            env={**os.environ, "STRIKECAST_HOME": str(home), "COLUMNS": "200", **variables},
            stderr=output,
        )

    def address() -> str | None:
        found = re.search(r"http://\S+", log_file.read_text())
        return found[0] if found else None

    try:
        wait_until(lambda: address() or process.poll() is not None, "the page to be served")
        url = address()
        assert url is not None, log_file.read_text()
        with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS) as client:
            yield Served(home, process, client, log_file.read_text)
    finally:
        process.kill()
        process.wait()
