"""Reading encrypted files through a pipe: what is in them never reaches the disk, not even if we are killed."""

import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from pipelines.errors import BackupError, single_line

#: By the suffix of what each tool has encrypted.
TOOLS = (".age", ".gpg")


def read_decrypted(path: Path, identity: Path | None) -> bytes:
    """A file's content, decrypted if it is encrypted. Raises BackupError when that is not possible."""
    with _plain(path, identity) as stream:
        return stream.read()


def run_on_decrypted(
    command: Sequence[str | Path], path: Path, identity: Path | None, environment: Mapping[str, str] | None = None
) -> str | None:
    """Run a program that reads a file from its standard input, decrypted; what it complains of when it fails.

    Raises BackupError when the file cannot be decrypted.
    """
    with _plain(path, identity) as stream:
        done = subprocess.run(command, stdin=stream, env=environment, capture_output=True, text=True, check=False)
    return single_line(done.stderr)[:500] or f"exit code {done.returncode}" if done.returncode else None


@contextmanager
def _plain(path: Path, identity: Path | None) -> Iterator[IO[bytes]]:
    if path.suffix not in TOOLS:
        with path.open("rb") as content:
            yield content
        return
    if identity is None:
        raise BackupError(
            f"{path.name} is encrypted: name age's key file, or the folder of gpg's keyring, as `identity` in [backup]"
        )
    command: list[str | Path] = (
        ["age", "--decrypt", "--identity", identity, path]
        if path.suffix == ".age"
        else ["gpg", "--batch", "--no-tty", "--quiet", "--homedir", identity, "--decrypt", path]
    )
    with TemporaryFile() as complaints:
        try:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints)
        except FileNotFoundError as error:
            raise BackupError(f"{path.name} is encrypted, and {command[0]} is not installed") from error
        with child:
            assert child.stdout is not None
            yield child.stdout
        complaints.seek(0)
        said = single_line(complaints.read().decode(errors="replace"))
    # Whoever read has stopped: then it says why.
    stopped = child.returncode == -signal.SIGPIPE or "roken pipe" in said
    if child.returncode and not stopped:
        raise BackupError(f"{path.name} cannot be decrypted with {identity}: {said or f'exit {child.returncode}'}")
