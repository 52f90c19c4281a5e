"""PgBouncer before a server."""

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from programs import pgbouncer
from waiting import wait_until

from pipelines.storage.postgres.embedded import SYSTEM_USER, EmbeddedServer


@contextmanager
def pooler(server: EmbeddedServer, directory: Path, mode: str, **settings: str) -> Iterator[str]:
    """URL of PgBouncer with a pool of one connection to each database of a server."""
    program = pgbouncer()
    assert program is not None
    directory.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    values = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": mode,
        "default_pool_size": "1",
        "logfile": str(directory / "pgbouncer.log"),
        **settings,
    }
    lines = [f"{name} = {value}\n" for name, value in values.items()]
    configuration = directory / "pgbouncer.ini"
    target = f"* = host={server.socket_dir} user=postgres\n"
    configuration.write_text(f"[databases]\n{target}[pgbouncer]\n{''.join(lines)}")
    user: dict[str, str | int | list[str]] = {}
    if os.geteuid() == 0:  # which PgBouncer refuses; only the server's user reaches its socket
        group = pwd.getpwnam(SYSTEM_USER).pw_gid
        user = {"user": SYSTEM_USER, "group": group, "extra_groups": []}
        shutil.chown(directory, SYSTEM_USER, group)
    process = subprocess.Popen([program, "--quiet", configuration], cwd="/", **user)  # type: ignore[call-overload]
    try:
        wait_until(lambda: _answers(port) or process.poll() is not None, "PgBouncer to answer")
        assert process.poll() is None, (directory / "pgbouncer.log").read_text()
        yield f"postgresql://postgres@127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
