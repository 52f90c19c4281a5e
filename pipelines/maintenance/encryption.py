"""Read files encrypted with age or gpg through a pipe, so that decrypted data never reaches the disk."""

import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from pipelines.errors import BackupError, single_line

SUFFIXES = (".age", ".gpg")


def read_decrypted(path: Path, identity: Path | None) -> bytes:
    """Content of a file, decrypted if it is encrypted. Raises BackupError when it cannot be decrypted."""
    with _open_decrypted(path, identity) as stream:
        return stream.read()


def run_on_decrypted(
    command: Sequence[str | Path], path: Path, identity: Path | None, environment: Mapping[str, str] | None = None
) -> str | None:
    """Run a program with the decrypted content of a file as its standard input; returns its error message or None.

    Raises BackupError when the file cannot be decrypted.
    """
    result = _run(command, path, identity, environment)
    return _message(result) if result.returncode else None


def read_through(command: Sequence[str | Path], path: Path, identity: Path | None) -> str:
    """Output of a program with the decrypted content of a file as its standard input.

    Raises BackupError when the program fails, or the file cannot be decrypted.
    """
    result = _run(command, path, identity, None)
    if result.returncode:
        raise BackupError(f"{path.name} cannot be read: {_message(result)}")
    return result.stdout


def _run(
    command: Sequence[str | Path], path: Path, identity: Path | None, environment: Mapping[str, str] | None
) -> subprocess.CompletedProcess[str]:
    with _open_decrypted(path, identity) as stream:
        return subprocess.run(command, stdin=stream, env=environment, capture_output=True, text=True, check=False)


def _message(result: subprocess.CompletedProcess[str]) -> str:
    return single_line(result.stderr, 500) or f"exit code {result.returncode}"


@contextmanager
def _open_decrypted(path: Path, identity: Path | None) -> Iterator[IO[bytes]]:
    if path.suffix not in SUFFIXES:
        with path.open("rb") as content:
            yield content
        return
    if identity is None:
        raise BackupError(
            f"{path.name} is encrypted: set `identity` in [backup] to age's key file or the folder of gpg's keyring"
        )
    command: list[str | Path] = (
        ["age", "--decrypt", "--identity", identity, path]
        if path.suffix == ".age"
        else ["gpg", "--batch", "--no-tty", "--quiet", "--homedir", identity, "--decrypt", path]
    )
    with TemporaryFile() as errors:
        try:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        except FileNotFoundError as error:
            raise BackupError(f"{path.name} is encrypted, and {command[0]} is not installed") from error
        with child:
            assert child.stdout is not None
            yield child.stdout
        errors.seek(0)
        message = single_line(errors.read().decode(errors="replace"))
    # A reader that stops early, which closes the pipe, reports its own error.
    broken_pipe = child.returncode == -signal.SIGPIPE or "roken pipe" in message
    if child.returncode and not broken_pipe:
        reason = message or f"exit code {child.returncode}"
        raise BackupError(f"{path.name} cannot be decrypted with {identity}: {reason}")
