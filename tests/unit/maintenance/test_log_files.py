"""Plans of log rotation, and the log writer."""

import gzip
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import socketpair

import orjson
import pytest
from small_disks import fill, small_disk
from waiting import TIMEOUT_SECONDS, wait_until

from pipelines.domain.maintenance.log_files import LogFile, LogPolicy, plan_logs
from pipelines.maintenance.log_rotation import _compress
from pipelines.maintenance.log_writer import rename_rotated

NOW = datetime(2026, 3, 31, 1, 15, tzinfo=UTC)


def log(name: str, *, age_days: float = 0.5, size: int = 1000, self_rotating: bool = False) -> LogFile:
    return LogFile("logs", name, size, NOW - timedelta(days=age_days), self_rotating)


def actions(*files: LogFile, policy: LogPolicy | None = None) -> list[tuple[str, str]]:
    return [(one.action, one.name) for one in plan_logs(files, policy or LogPolicy(), NOW).steps]


def test_a_file_in_use_is_renamed_and_an_earlier_one_compressed() -> None:
    assert actions(log("daemon.log"), log("daemon-20260330T011500Z.log", age_days=1), log("runs.jsonl")) == [
        ("compress", "daemon-20260330T011500Z.log"),
        ("rotate", "daemon.log"),
        ("rotate", "runs.jsonl"),
    ]


def test_a_recently_renamed_file_is_not_compressed_yet() -> None:
    assert actions(log("daemon-20260331T011400Z.log", age_days=0.001)) == []


def test_an_empty_log_is_not_rotated() -> None:
    assert actions(log("daemon.log", size=0)) == []


def test_the_newest_file_of_a_self_rotating_log_is_not_compressed() -> None:
    files = [
        log(f"postgresql-202603{day:02}T000000Z.log", self_rotating=True, age_days=31 - day) for day in (28, 29, 30)
    ]
    assert actions(*files) == [("compress", files[0].name), ("compress", files[1].name)]


def test_expired_files_are_deleted_and_then_the_oldest_above_the_size_limit() -> None:
    old = log("daemon-20260201T011500Z.log.gz", age_days=58)
    assert actions(old) == [("delete", old.name)]
    large = [log(f"daemon-202603{day:02}T011500Z.log.gz", age_days=31 - day, size=2**20) for day in (10, 20, 30)]
    assert actions(*large, policy=LogPolicy(most_megabytes=2)) == [("delete", large[0].name)]


def test_compression_keeps_content_and_age(tmp_path: Path) -> None:
    path = tmp_path / "daemon-20260330T011500Z.log"
    text = "".join(f"line {number}\n" for number in range(100_000))
    path.write_text(text)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    _compress(path)
    assert [one.name for one in tmp_path.iterdir()] == [f"{path.name}.gz"]
    with gzip.open(tmp_path / f"{path.name}.gz", "rt") as back:
        assert back.read() == text
    assert (tmp_path / f"{path.name}.gz").stat().st_mtime == 1_000_000_000


def test_rotations_in_the_same_second_have_different_names(tmp_path: Path) -> None:
    for _ in range(3):
        (tmp_path / "a.log").write_text("x")
        rename_rotated(tmp_path / "a.log", NOW)
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "a-20260331T011500Z-2.log",
        "a-20260331T011500Z-3.log",
        "a-20260331T011500Z.log",
    ]


def start_writer(folder: Path, names: list[str], descriptors: list[int]) -> subprocess.Popen[bytes]:
    ours, theirs = socketpair()
    with ours, theirs:  # a supervisor that has ended does not end the log writer
        return subprocess.Popen(
            [sys.executable, "-m", "pipelines.maintenance.log_writer", str(folder), str(theirs.fileno()), *names],
            pass_fds=[theirs.fileno(), *descriptors],
        )


def test_no_line_is_lost_while_files_are_rotated(tmp_path: Path) -> None:
    pipes = [os.pipe() for _ in range(2)]
    names = [f"{name}={reading}" for name, (reading, _) in zip(("a", "b"), pipes, strict=True)]
    child = start_writer(tmp_path, names, [one for one, _ in pipes])
    for reading, _ in pipes:
        os.close(reading)
    for number in range(20_000):
        for (_, writing), name in zip(pipes, "ab", strict=True):
            os.write(writing, f"{name} {number}\n".encode())
        if number % 2_000 == 1_999:
            wait_until((tmp_path / "a.log").exists, "the next file")
            rename_rotated(tmp_path / "a.log", datetime.now(UTC))
    os.write(pipes[0][1], b"no line break")
    for _, writing in pipes:
        os.close(writing)
    assert child.wait(TIMEOUT_SECONDS) == 0
    for name, last in (("a", ["no line break"]), ("b", [])):
        lines = [line for path in tmp_path.glob(f"{name}*.log") for line in path.read_text().splitlines()]
        assert sorted(lines) == sorted([*(f"{name} {number}" for number in range(20_000)), *last])
    assert len(list(tmp_path.glob("a-*.log"))) >= 5


def test_an_outage_is_two_lines_and_colour_codes_reach_no_file(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    child = start_writer(tmp_path, [f"daemon={reading}"], [reading])
    os.close(reading)
    time = "\x1b[32m2026-11-29 10:56:11 +0000\x1b[0m - dagster.daemon.SensorDaemon - "
    failed = f"{time}\x1b[31mERROR\x1b[0m - Sensor daemon caught an error\nTraceback (most recent call last):\n"
    failed += '  File "a.py", line 1\n' * 50 + "psycopg2.OperationalError: connection to server at ::1 failed\n"
    for _ in range(200):
        os.write(writing, failed.encode())
    os.write(writing, f"{time}\x1b[34mINFO\x1b[0m - Checking for new runs\n".encode())
    os.close(writing)
    assert child.wait(TIMEOUT_SECONDS) == 0
    began, info, over = (tmp_path / "daemon.log").read_text().splitlines()
    assert began.startswith("2026-11-29 10:56:11 +0000 - dagster.daemon.SensorDaemon - ERROR - Sensor daemon caught")
    assert began.endswith("(psycopg2.OperationalError: connection to server at ::1 failed)")
    assert info == "2026-11-29 10:56:11 +0000 - dagster.daemon.SensorDaemon - INFO - Checking for new runs"
    assert over.startswith("(199 more within ")


@pytest.mark.needs("a mount")
def test_messages_of_commands_on_a_full_disk_print_no_traceback_and_are_written_again_later(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from pipelines.service.log_setup import *\n"
        "open_command_log(Path(sys.argv[1])); filler = Path(sys.argv[1]) / 'filler'\n"
        "for n in range(2000): command_log.info(f'{n:01000d}')\n"
        "filler.unlink(); command_log.info('again')\n"
    )
    with small_disk(tmp_path / "disk", "64k") as disk:
        fill(disk).write_bytes(bytes(30_000))
        done = subprocess.run(
            [sys.executable, "-c", program, disk], capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert '"again"' in (disk / "logs" / "commands.jsonl").read_text().splitlines()[-1]


@pytest.mark.needs("a mount")
def test_lines_are_dropped_and_counted_while_the_disk_is_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "64k") as disk:
        reading, writing = os.pipe()
        child = start_writer(disk, [f"a={reading}"], [reading])
        try:
            os.close(reading)
            for number in range(5_000):
                os.write(writing, f"{number:0100d}\n".encode())
            wait_until(lambda: (disk / "a.log").exists() and (disk / "a.log").stat().st_size > 60_000, "a full disk")
            (disk / "a.log").unlink()

            def reported() -> bool:
                os.write(writing, b"again\n")
                return (disk / "a.log").exists() and "lines could not be written" in (disk / "a.log").read_text()

            wait_until(reported, "the number of dropped lines")
            assert child.poll() is None
        finally:
            os.close(writing)
            child.wait(TIMEOUT_SECONDS)


@pytest.mark.slow
def test_many_processes_write_json_lines_to_one_rotated_file(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from pipelines.service import log_setup\n"
        "log_setup.open_command_log(Path(sys.argv[1]))\n"
        "for n in range(2000): log_setup.command_log.info(f'{sys.argv[2]} {n} \\n not a new line')\n"
    )
    children = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), name]) for name in "abc"]
    path = tmp_path / "logs" / "commands.jsonl"
    while any(child.poll() is None for child in children):
        if path.exists() and path.stat().st_size > 50_000:
            rename_rotated(path, datetime.now(UTC))
    assert [child.wait() for child in children] == [0, 0, 0]
    lines = [orjson.loads(line) for one in path.parent.glob("*.jsonl") for line in one.read_bytes().splitlines()]
    assert len(lines) == 6_000
    assert {line["level"] for line in lines} == {"info"}
    assert {line["event"].split()[0] for line in lines} == {"a", "b", "c"}
    assert all(datetime.fromisoformat(line["timestamp"]).tzinfo is not None and line["pid"] for line in lines)
