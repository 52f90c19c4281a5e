#!/usr/bin/env python3
"""Create a virtual environment from lock files, or add to one: .ci/install.py [--clear] VENV LOCK...

With --clear, what was there before is removed, so that nothing stays that a lock no longer lists.

Needs Python's standard library only. Every package must have a hash that a lock file states, whichever program installs
it. That is uv where possible: docs/benchmarks.md has its time beside pip's. uv does not read pip's configuration
(package index, certificates, proxy), so it is passed on as uv's variables; where pip has a setting without a
counterpart below, pip installs.

Exit codes: 0 installed; 1 not, with the reason in one line on stderr.
"""

import ast
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

#: pip's settings, uv's variables of the same meaning, and what separates the items of a list there.
UV_VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "no-index": ("UV_NO_INDEX", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "client-cert": ("SSL_CLIENT_CERT", " "),
    "proxy": ("ALL_PROXY", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
}
#: Settings without effect on what is installed from a lock with hashes, without dependencies.
WITHOUT_EFFECT = {
    "break-system-packages",
    "cache-dir",
    "constraint",
    "disable-pip-version-check",
    "no-cache-dir",
    "no-color",
    "no-input",
    "no-warn-script-location",
    "progress-bar",
    "quiet",
    "require-virtualenv",
    "retries",
    "root-user-action",
    "verbose",
}
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input")
LOCKED = ("--no-deps", "--require-hashes")


class SetupError(Exception):
    """The environment cannot be set up; the message is one line with the remedy."""


def main(venv: Path, locks: Sequence[Path], *, clear: bool) -> None:
    """Create `venv` unless it is there, then install what the lock files list. Raises SetupError."""
    python = venv / "bin" / "python"
    if clear or not python.exists():
        create(venv)
    requirements = [argument for lock in locks for argument in ("-r", str(lock))]
    variables = uv_variables(pip_settings(python))
    if variables is None:
        run(python, *PIP, "install", "--quiet", *LOCKED, *requirements)
        return
    uv = venv / "bin" / "uv"
    if not uv.exists():
        with tempfile.TemporaryDirectory() as folder:
            alone = Path(folder) / "uv.lock"
            alone.write_text(block("uv", locks))
            try:
                run(python, *PIP, "install", "--quiet", *LOCKED, "-r", str(alone))
            except SetupError as error:
                raise SetupError(f"is the package index reachable (python3 -m pip config list)? {error}") from error
    environment = {**os.environ, **variables, "UV_INDEX_STRATEGY": "unsafe-best-match", "UV_NO_CONFIG": "1"}
    run(uv, "pip", "install", "--quiet", "--python", str(python), *LOCKED, *requirements, environment=environment)


def create(venv: Path) -> None:
    """Create an empty environment with pip. Raises SetupError."""
    parent = venv.absolute().parent
    if not os.access(parent, os.W_OK):
        raise SetupError(f"{parent} cannot be written: clone to a folder that you can write")
    if find_spec("ensurepip") is None:
        raise SetupError("Python's venv module is incomplete (Debian: apt-get install python3-venv)")
    run(Path(sys.executable), "-m", "venv", "--clear", str(venv))


def pip_settings(python: Path) -> dict[str, str]:
    """Read pip's configuration, by name without section; variables win over pip's files."""
    settings: dict[str, str] = {}
    lines = run(python, *PIP, "-vvv", "config", "list").splitlines()  # verbose: `quiet` among them would print none
    for section in ("global", "install", ":env:"):
        for line in lines:
            name, separator, value = line.partition("=")
            if separator and name.startswith(f"{section}."):
                settings[name.removeprefix(f"{section}.")] = str(ast.literal_eval(value))
    return settings


def uv_variables(settings: Mapping[str, str]) -> dict[str, str] | None:
    """The settings as uv's variables; None where one of them has no counterpart."""
    variables = {"UV_SYSTEM_CERTS": "1"}
    for name, value in settings.items():
        if name in UV_VARIABLES:
            variable, separator = UV_VARIABLES[name]
            variables[variable] = separator.join(value.split())
        elif name not in WITHOUT_EFFECT:
            return None
    return variables


def block(package: str, locks: Sequence[Path]) -> str:
    """The lines of one package in the lock files: its version and hashes."""
    for lock in locks:
        found = re.search(rf"^{package}==.*(?:\n .*)*\n", lock.read_text(), re.MULTILINE)
        if found:
            return found[0]
    raise SetupError(f"{', '.join(map(str, locks))}: {package} is not locked")


def run(program: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run a program and return its output. Raises SetupError with the last line that says what failed."""
    done = subprocess.run([str(program), *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    telling = [line for line in lines if re.match(r"(ERROR|error|OSError|.*[Cc]aused by)", line)] or lines
    name = arguments[1] if arguments[0] == "-m" else program.name
    raise SetupError(f"{name} failed: {' '.join(telling[-2:]) or done.returncode}")


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--clear"]
    try:
        main(Path(arguments[0]), [Path(lock) for lock in arguments[1:]], clear="--clear" in sys.argv)
    except SetupError as error:
        sys.exit(f"set-up: {error}")
