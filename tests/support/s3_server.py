"""An S3 server in a process of its own: rclone's, on a folder."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from programs import find
from waiting import wait_until

BUCKET = "bucket"
KEY, SECRET = "test-key", "test-secret"


@dataclass
class S3Server:
    """A server that can be killed and started again on its port; `folder`: of the bucket's objects."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [
            *(str(find("rclone")), "serve", "s3", str(self.folder.parent), "--addr", f"127.0.0.1:{self.port}"),
            *("--auth-key", f"{KEY},{SECRET}", "--config", "/dev/null"),
        ]
        log = self.folder.parent.with_suffix(".log")
        with log.open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        wait_until(self._accepts, "the S3 server's start")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def suspend(self) -> None:
        """Let the server accept connections and not answer, until it is killed."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def _accepts(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the S3 server has ended"
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A running server with the bucket BUCKET, which this process's AWS_ variables name."""
    folder = tmp_path / "s3" / BUCKET
    folder.mkdir(parents=True)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with socket.create_server(("127.0.0.1", 0)) as free:
        server = S3Server(folder, free.getsockname()[1])
    variables = {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    server.start()
    try:
        yield server
    finally:
        server.kill()
