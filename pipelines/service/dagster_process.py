"""One of Dagster's commands, in a process that asks others less often: `python -m pipelines.service.dagster_process
MODULE ...` is `python -m MODULE ...`.

Daemon and web server ask each second whether the code server is still the same, over a connection of its own each time,
and the code server's proxy tells its child each second that it lives: 1.5 % of a core on an idle system.
"""

import runpy
import sys

from dagster._grpc import client, server_watcher

#: A new code server is noticed after so long; that one was lost, the supervisor notices by itself. The child of a proxy
#: ends when it has not been told anything for 30 s.
SECONDS = 5


def ask_less_often() -> None:
    """Set the intervals of this process, for which Dagster has no options."""
    server_watcher.WATCH_INTERVAL = SECONDS
    client.CLIENT_HEARTBEAT_INTERVAL = SECONDS


if __name__ == "__main__":
    ask_less_often()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
