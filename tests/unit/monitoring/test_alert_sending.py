"""Delivery of messages to real sockets: webhooks, and addresses that never answer."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from small_disks import fill, small_disk
from waiting import wait_until
from webhooks import Receiver, running_webhook

from pipelines.domain.monitoring.alerts import AlertSeverity, Problem, RunbookHeading
from pipelines.errors import SettingsError
from pipelines.monitoring import alert_sending
from pipelines.monitoring.alert_delivery import read_state, update_alerts
from pipelines.monitoring.alert_sending import deliver_once, delivering, send_test
from pipelines.settings import Settings, load_settings

NOW = datetime.now(UTC)
DISK = Problem("disk", "the disk is low", RunbookHeading.STORAGE)
FILE = Problem("file BTC", "the price is old", RunbookHeading.PRICES, severity=AlertSeverity.CRITICAL)


@pytest.fixture
def webhook() -> Iterator[tuple[str, type[Receiver]]]:
    with running_webhook() as found:
        yield found


class Silent:
    """A socket that accepts connections, and answers with nothing, or with a header that never ends."""

    def __init__(self, *, trickles: bool) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.trickles = trickles
        self.url = f"json://127.0.0.1:{self._listener.getsockname()[1]}/hook"
        self.accepted = 0
        self.closed = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.accepted += 1
                threading.Thread(target=self._hold, args=(connection,), daemon=True).start()

    def _hold(self, connection: socket.socket) -> None:
        """Read until the other side is gone."""
        with connection, suppress(OSError):
            if self.trickles:
                connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
            connection.settimeout(0.2)
            while True:
                try:
                    if not connection.recv(4096):
                        break
                except TimeoutError:
                    if self.trickles:
                        connection.sendall(b"a")
        self.closed += 1

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(params=[False, True], ids=["silent", "trickling"])
def silent(request: pytest.FixtureRequest) -> Iterator[Silent]:
    found = Silent(trickles=request.param)
    yield found
    found.close()


@pytest.fixture
def logged() -> list[str]:
    return []


def configured(*urls: str) -> Settings:
    return load_settings(alerts={"urls": urls})


def titles(receiver: type[Receiver]) -> list[str]:
    return [one["title"] for one in receiver.received]


def text_of(receiver: type[Receiver]) -> str:
    return " ".join(f"{one['title']} {one['message']}" for one in receiver.received)


def reported(receiver: type[Receiver]) -> set[str]:
    """Keys of the problems that a webhook has heard of."""
    return {one.key for one in (DISK, FILE) if f"{one.severity}: {one.key}" in text_of(receiver)}


def test_an_address_that_never_answers_delays_neither_evaluation_nor_others_nor_the_end(
    silent: Silent, webhook: tuple[str, type[Receiver]], logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_sending, "SEND_TIMEOUT_SECONDS", 3_600.0)  # nobody could wait for it
    url, receiver = webhook
    settings = configured(silent.url, url)
    with delivering(settings, logged.append):
        update_alerts(settings, [DISK], NOW, logged.append)
        wait_until(lambda: silent.accepted == 1, "the connection")
        update_alerts(settings, [DISK, FILE], NOW, logged.append)
        update_alerts(settings, [FILE], NOW, logged.append)
        wait_until(lambda: {"disk", "file BTC"} <= reported(receiver), "the other address")
        wait_until(lambda: "resolved (warning): disk" in text_of(receiver), "the end at the other address")
    wait_until(lambda: silent.closed == silent.accepted, "the end of the sender, which is killed")


def test_an_address_that_never_answers_is_given_up_and_tried_again_later(
    silent: Silent, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_sending, "SEND_TIMEOUT_SECONDS", 8.0)  # silence ends earlier, by apprise's own limit
    monkeypatch.setattr(alert_sending, "FIRST_PAUSE_SECONDS", 0.05)
    settings = configured(silent.url)
    update_alerts(settings, [DISK], NOW, lambda _: None)
    with delivering(settings, logged.append):
        wait_until(lambda: silent.closed == 2, "two attempts")
    [line] = logged  # the first failure in a row
    assert line.endswith("; it is tried again, at least every 15 min")
    assert "did not answer within 8 s" in line or not silent.trickles
    assert len(read_state(settings, NOW).messages) == 1


def test_pauses_between_attempts_double_up_to_a_limit() -> None:
    pauses = [alert_sending.pause_seconds(failures) for failures in range(1, 12)]
    assert pauses[:4] == [5, 10, 20, 40]
    assert pauses[-1] == 900


def test_a_webhook_receives_one_message_per_transition(webhook: tuple[str, type[Receiver]], logged: list[str]) -> None:
    url, receiver = webhook
    settings = configured(url)
    for found in ([DISK], [DISK], []):
        update_alerts(settings, found, NOW, logged.append)
        deliver_once(settings, logged.append)
    assert titles(receiver) == ["strikecast: warning: disk", "strikecast: resolved (warning): disk"]
    assert receiver.received[0]["message"].startswith("the disk is low\nSince ")


def test_a_message_that_was_refused_is_delivered_later_and_not_repeated_to_others(
    webhook: tuple[str, type[Receiver]], logged: list[str]
) -> None:
    url, receiver = webhook
    with running_webhook() as (refusing_url, refusing):
        refusing.status = 500
        settings = configured(refusing_url, url)
        update_alerts(settings, [DISK], NOW, lambda _: None)
        deliver_once(settings, logged.append)
        assert logged == ["URL 1 of alerts.urls did not accept a message"]
        refusing.status = 200
        for _ in range(2):
            deliver_once(settings, logged.append)
    assert (len(refusing.received), len(receiver.received)) == (2, 1), "refused once, accepted once"


def test_what_began_and_ended_while_an_address_was_unreachable_is_one_summary(
    webhook: tuple[str, type[Receiver]], logged: list[str]
) -> None:
    url, receiver = webhook
    settings = configured(url)
    for number, found in enumerate(([DISK], [], [DISK], [], [FILE])):
        update_alerts(settings, found, NOW + timedelta(seconds=number), lambda _: None)
    deliver_once(settings, logged.append)
    assert titles(receiver) == ["strikecast: critical: 1 problems, 2 resolved"]
    text = receiver.received[0]["message"]
    assert text.index("critical: file BTC") < text.index("resolved (warning): disk")
    deliver_once(settings, logged.append)
    assert len(receiver.received) == 1


def test_the_command_delivers_nothing_while_up_does(
    silent: Silent, webhook: tuple[str, type[Receiver]], logged: list[str]
) -> None:
    settings = configured(silent.url)
    update_alerts(settings, [DISK], NOW, logged.append)
    with delivering(settings, logged.append):
        wait_until(lambda: silent.accepted == 1, "the connection")
        deliver_once(settings, logged.append)
        assert silent.accepted == 1


@pytest.mark.needs("a mount")
def test_a_full_disk_delivers_the_beginning_and_the_end_once(
    webhook: tuple[str, type[Receiver]], logged: list[str], tmp_path: Path
) -> None:
    url, receiver = webhook
    with small_disk(tmp_path / "home", "512k") as disk:
        settings = configured(url)
        update_alerts(settings, [], NOW, logged.append)
        filler = fill(disk)
        for found in ([DISK], [DISK], [], []):
            update_alerts(settings, found, NOW, logged.append)
            deliver_once(settings, logged.append)
        filler.unlink()
        for found in ([], [DISK]):
            update_alerts(settings, found, NOW, logged.append)
            deliver_once(settings, logged.append)
    assert titles(receiver) == [
        "strikecast: warning: disk",
        "strikecast: resolved (warning): disk",
        "strikecast: warning: disk",
    ]


def test_an_invalid_url_is_an_error_without_the_secret(logged: list[str]) -> None:
    settings = configured("nonsense://user:hush-hush@x")
    assert "hush-hush" not in repr(settings)
    update_alerts(settings, [DISK], NOW, lambda _: None)
    deliver_once(settings, logged.append)
    assert logged == ["URL 1 of alerts.urls is invalid: use one of apprise's, such as mailtos://"]
    with pytest.raises(SettingsError, match=r"URL 1 of alerts.urls is invalid"):
        send_test(settings, logged.append)
