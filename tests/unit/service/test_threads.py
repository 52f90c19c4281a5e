"""A repeated call goes on after exceptions."""

from threading import Event

from waiting import wait_until

from pipelines.errors import DatabaseError
from pipelines.service.threads import repeat


def test_exceptions_are_logged_once_while_they_last_and_end_nothing() -> None:
    ended, calls, logged = Event(), 0, list[str]()

    def call() -> None:
        nonlocal calls
        calls += 1
        if calls in {1, 2, 4}:
            raise DatabaseError("the server is away")
        if calls == 5:
            raise KeyError("a bug")

    thread = repeat("test", call, lambda: ended.wait(0.01), logged.append)
    wait_until(lambda: calls > 6, "further calls")
    ended.set()
    thread.join(10)
    assert not thread.is_alive()
    assert logged[:2] == ["the server is away", "the server is away"]
    assert logged[2].startswith("test: KeyError: 'a bug' (call, line ")
    assert len(logged) == 3
