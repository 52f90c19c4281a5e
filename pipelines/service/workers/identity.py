"""What must be equal on the host and on a worker, so that a build does not depend on where it ran."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dagster as dg

from pipelines.settings import Settings
from pipelines.storage.postgres.schema import needed_revision

#: Key of the host's identity in Dagster's storage, which a worker reads when it starts.
HOST_KEY = "strikecast/host"
#: Our code, as its users import it.
PACKAGES = ("pipelines", "assets", "strikecast")
#: What computes, stores, reads, or hands over runs; a difference of the last number alone is accepted.
LIBRARIES = (
    *("dagster", "dagster-postgres", "dagster-celery", "celery", "kombu"),
    *("duckdb", "numpy", "polars", "psycopg", "ccxt"),
)
#: Settings by which a build, a score or an import differs; of the symbols, each is one of its own.
SECTIONS = ("model", "exchange", "markets", "desk")


@dataclass(frozen=True)
class Identity:
    """Digest of the code, schema that it needs, digests of the settings by section, versions by library."""

    code: str
    schema: str
    settings: Mapping[str, str]
    versions: Mapping[str, str]

    def settings_of(self, symbol: str | None) -> str:
        """Digest of what determines the runs of a symbol; None: of all symbols."""
        sections = self.settings if symbol is None else [*SECTIONS, symbol_section(symbol)]
        return _digest({name: self.settings.get(name) for name in sections})

    def differing_settings(self, other: "Identity") -> list[str]:
        """Sections that differ from those of another identity."""
        names = sorted({*self.settings, *other.settings})
        return [name for name in names if self.settings.get(name) != other.settings.get(name)]

    def differing_versions(self, other: "Identity") -> list[str]:
        """Libraries whose version differs in more than the last number, with both versions: ours, then the other's."""
        return [
            f"{name} {found} instead of {other.versions.get(name)}"
            for name, found in self.versions.items()
            if _release(found) != _release(other.versions.get(name, ""))
        ]


def own_identity(settings: Settings) -> Identity:
    """The identity of this installation with these settings; the code is read once per process."""
    return Identity(code_digest(), needed_revision(), settings_digests(settings), installed_versions())


def symbol_section(symbol: str) -> str:
    """Name of a symbol's section."""
    return f"symbols.{symbol}"


@cache
def code_digest() -> str:
    """SHA-256 over names and contents of our Python and SQL files, the same in a checkout and in a wheel."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted(_folder(package).rglob("*")):
            if path.suffix in {".py", ".sql"}:
                content = path.read_bytes()
                name = path.relative_to(_folder(package)).as_posix()
                digest.update(f"{package}/{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _folder(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def settings_digests(settings: Settings) -> dict[str, str]:
    """Digests by section; secrets do not take part."""
    values = settings.model_dump(mode="json", exclude={"exchange": {"urls"}})
    symbols = {symbol_section(name): value for name, value in values["symbols"].items()}
    return {name: _digest(value) for name, value in {**{name: values[name] for name in SECTIONS}, **symbols}.items()}


def installed_versions() -> dict[str, str]:
    """Versions of Python and of LIBRARIES."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in LIBRARIES}}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _release(version: str) -> list[str]:
    return version.split(".")[:2]


def publish_identity(instance: dg.DagsterInstance, identity: Identity) -> None:
    """Store the host's identity for workers."""
    instance.daemon_cursor_storage.set_cursor_values({HOST_KEY: json.dumps(asdict(identity))})


def host_identity(instance: dg.DagsterInstance) -> Identity | None:
    """The identity of the host that ran last; None before the first."""
    stored = instance.daemon_cursor_storage.get_cursor_values({HOST_KEY}).get(HOST_KEY)
    return None if stored is None else Identity(**json.loads(stored))
