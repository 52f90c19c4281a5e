#!/usr/bin/env python3
"""Create a virtual environment from lock files, or add to one: .ci/install.py [--clear] VENV LOCK...

With --clear, an existing environment is replaced by a new one.

Uses Python's standard library only. Every package must match a hash in a lock file. uv installs the packages (times in
docs/benchmarks.md). It does not read pip's configuration (package index, certificates, proxy), so this is passed on in
uv's variables; with a setting of pip that has no counterpart below, pip installs the packages.

Exit codes: 0 installed; 1 failed, with the reason in one line on stderr.
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

#: pip's settings: uv's variable of the same meaning, and its separator of list items.
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
#: Settings that do not affect an installation from a lock with hashes and without dependencies.
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
    """Create `venv` unless it exists, and install the packages of the lock files. Raises SetupError."""
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
            uv_lock = Path(folder) / "uv.lock"
            uv_lock.write_text(block("uv", locks))
            try:
                run(python, *PIP, "install", "--quiet", *LOCKED, "-r", str(uv_lock))
            except SetupError as error:
                raise SetupError(f"is the package index reachable (python3 -m pip config list)? {error}") from error
    environment = {**os.environ, **variables, "UV_INDEX_STRATEGY": "unsafe-best-match", "UV_NO_CONFIG": "1"}
    run(uv, "pip", "install", "--quiet", "--python", str(python), *LOCKED, *requirements, environment=environment)


def create(venv: Path) -> None:
    """Create an environment that contains pip only. Raises SetupError."""
    parent = venv.absolute().parent
    if not os.access(parent, os.W_OK):
        raise SetupError(f"{parent} cannot be written: clone to a folder that you can write")
    if find_spec("ensurepip") is None:
        raise SetupError("Python's venv module is incomplete (Debian: apt-get install python3-venv)")
    run(Path(sys.executable), "-m", "venv", "--clear", str(venv))


def pip_settings(python: Path) -> dict[str, str]:
    """Read pip's settings, by name without section; environment variables take precedence over files."""
    settings: dict[str, str] = {}
    lines = run(python, *PIP, "-vvv", "config", "list").splitlines()  # verbose, or the setting `quiet` suppresses it
    for section in ("global", "install", ":env:"):
        for line in lines:
            name, separator, value = line.partition("=")
            if separator and name.startswith(f"{section}."):
                settings[name.removeprefix(f"{section}.")] = str(ast.literal_eval(value))
    return settings


def uv_variables(settings: Mapping[str, str]) -> dict[str, str] | None:
    """The settings as uv's variables; None when one has no counterpart."""
    variables = {"UV_SYSTEM_CERTS": "1"}
    for name, value in settings.items():
        if name in UV_VARIABLES:
            variable, separator = UV_VARIABLES[name]
            variables[variable] = separator.join(value.split())
        elif name not in WITHOUT_EFFECT:
            return None
    return variables


def block(package: str, locks: Sequence[Path]) -> str:
    """The lines of a package in the lock files: its version and hashes. Raises SetupError."""
    for lock in locks:
        found = re.search(rf"^{package}==.*(?:\n .*)*\n", lock.read_text(), re.MULTILINE)
        if found:
            return found[0]
    raise SetupError(f"{', '.join(map(str, locks))}: {package} is not locked")


def run(program: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run a program and return its output. Raises SetupError with its last error messages."""
    process = subprocess.run([str(program), *arguments], env=environment, capture_output=True, text=True, check=False)
    if process.returncode == 0:
        return process.stdout
    lines = [line.strip() for line in (process.stdout + process.stderr).splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(ERROR|error|OSError|.*[Cc]aused by)", line)] or lines
    name = arguments[1] if arguments[0] == "-m" else program.name
    raise SetupError(f"{name} failed: {' '.join(errors[-2:]) or process.returncode}")


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--clear"]
    try:
        main(Path(arguments[0]), [Path(lock) for lock in arguments[1:]], clear="--clear" in sys.argv)
    except SetupError as error:
        sys.exit(f"set-up: {error}")
