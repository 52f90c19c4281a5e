"""Probability files with known content, and the commands that show them, in processes of their own."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
from waiting import PATIENCE_SECONDS, wait_until

from pipelines.domain.models.ladder import LadderAnswers, LiveState, Tick, ladder_strikes_usd, live_payload
from pipelines.domain.models.lookup import Reading
from pipelines.live.output import probabilities_path

TIER_USD = 250.0


def ladder(
    price: float, at: datetime, *, price_at: datetime | None = None, problems: Sequence[str] = (), known: bool = True
) -> dict[str, Any]:
    """What a session writes at an instant (aware); without `known` there is no evidence for any strike."""
    strikes = ladder_strikes_usd(price, TIER_USD)
    buffer = np.abs(strikes - price)
    beyond = 48.0 * np.exp(-buffer / (3 * TIER_USD)) if known else np.full(len(strikes), np.nan)
    reading = Reading(beyond, np.zeros(len(strikes), dtype=bool), 1_000.0, np.full(len(strikes), 500.0))
    answers = LadderAnswers(strikes, buffer, buffer / price * 10_000, strikes > price, reading)
    state = LiveState(
        now=at,
        tick=Tick(price_at or at, price),
        momentum_score_pct=0.0123,
        momentum_bucket=1,
        fingerprint_table="standardised_lookup_cell",
        generation=7,
        model="standardised",
        sigma_pct=0.0512,
        group=5,
    )
    return live_payload(state, TIER_USD, answers, problems)


def write_ladder(folder: Path, symbol: str, payload: dict[str, Any]) -> None:
    """Replace a symbol's file as a session does, without being one."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{symbol}.partial"
    partial.write_bytes(orjson.dumps(payload, option=orjson.OPT_INDENT_2))
    partial.replace(probabilities_path(folder, symbol))


@dataclass(frozen=True)
class Served:
    """A `serve` that answers: its home folder, its process and a client of it."""

    home: Path
    process: subprocess.Popen[bytes]
    client: httpx.Client
    said: Callable[[], str]

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
    log = home / "serve.log"
    variables = {f"STRIKECAST_{name.upper()}": value for name, value in settings.items()}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", "serve", "--port", "0"],
            env={**os.environ, "STRIKECAST_HOME": str(home), "COLUMNS": "200", **variables},
            stderr=output,
        )

    def address() -> str | None:
        found = re.search(r"http://\S+", log.read_text())
        return found[0] if found else None

    try:
        wait_until(lambda: address() or process.poll() is not None, "the page to be served")
        url = address()
        assert url is not None, log.read_text()
        with httpx.Client(base_url=url, timeout=PATIENCE_SECONDS) as client:
            yield Served(home, process, client, log.read_text)
    finally:
        process.kill()
        process.wait()
