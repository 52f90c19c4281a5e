"""What the checks of the paper desk find in the database: an unchanged account, and one that was tampered with."""

import re
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from psycopg import sql
from sample_desks import HOUR
from stored_desks import store_course

from pipelines.domain.desk.state import DeskState
from pipelines.domain.monitoring.desk_checks import check_balances, check_settled
from pipelines.evaluation.desk_replay import replay
from pipelines.storage.desk.journal import read_ledgers
from pipelines.storage.postgres.connection import Database, Role

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "desk.md"
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_campaigns = count()


@pytest.fixture
def stored(database: Database) -> Iterator[DeskState]:
    """A campaign of its own with three trades settled and one open; deleted with the test."""
    until = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + HOUR
    state = store_course(database, f"check{next(_campaigns)}", until, 4)
    yield state
    for table in ("desk_ledger", "desk_event", "desk_trade", "desk_inputs"):
        change(database, f"DELETE FROM live_data.{table} WHERE campaign = %s", state.campaign)
    change(database, "DELETE FROM live_data.session_snapshots WHERE session_id = 'desk:' || %s", state.campaign)


def change(database: Database, statement: str, *parameters: object) -> None:
    with database.connect("test", None) as connection:
        connection.execute(sql.SQL(statement), parameters)  # type: ignore[arg-type]


def balances(database: Database) -> tuple[bool, str]:
    with database.connect("test", Role.PIPELINE) as connection:
        result = check_balances(read_ledgers(connection))
    return result.passed, result.detail


def replayed(database: Database, state: DeskState, since: datetime = LONG_AGO) -> tuple[bool, str]:
    result = replay(database, state.campaign, since)
    return result.passed, result.detail


def test_a_stored_account_passes_all_checks(database: Database, stored: DeskState) -> None:
    assert balances(database) == (True, "")
    result = replay(database, stored.campaign, LONG_AGO)
    assert (result.passed, result.total, result.detail) == (True, stored.inputs, "")
    with database.connect("test", Role.PIPELINE) as connection:
        states = [ledger.state for ledger in read_ledgers(connection)]
    assert stored.campaign in {state.campaign for state in states}
    assert check_settled(states, datetime.now(UTC)).passed
    assert not check_settled(states, datetime.now(UTC) + timedelta(hours=3)).passed


def test_the_sql_of_the_documentation_answers(database: Database, stored: DeskState) -> None:
    blocks = re.findall(r"^```sql\n(.*?)^```$", DOCUMENTATION.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) > 3
    with database.connect("test", Role.READER) as connection:
        for block in blocks:
            statement = block.replace("'paper'", f"'{stored.campaign}'").replace(
                "'desk:paper'", f"'desk:{stored.campaign}'"
            )
            assert connection.execute(sql.SQL(statement)).fetchall(), block  # type: ignore[arg-type]


def test_a_replay_begins_with_the_state_at_its_time(database: Database, stored: DeskState) -> None:
    assert replay(database, stored.campaign, datetime.now(UTC)).total == 0
    assert replay(database, "no such campaign", LONG_AGO).total == 0


def test_a_changed_amount_of_the_ledger_is_found(database: Database, stored: DeskState) -> None:
    where = "WHERE campaign = %s AND account = 'fees' AND event = (SELECT max(event) FROM live_data.desk_ledger WHERE campaign = %s)"
    change(database, f"UPDATE live_data.desk_ledger SET amount_usd = amount_usd + 0.01 {where}", *2 * [stored.campaign])
    passed, detail = balances(database)
    assert not passed
    assert f"{stored.campaign}: the amounts of event" in detail
    assert f"{stored.campaign}: fees is" in detail


def test_a_changed_quote_in_the_journal_is_found(database: Database, stored: DeskState) -> None:
    with database.connect("test", None) as connection:
        rows = connection.execute(
            "SELECT first_input, content FROM live_data.desk_inputs WHERE campaign = %s ORDER BY 1", [stored.campaign]
        ).fetchall()
    [(first, content), *_] = [row for row in rows if b'"0.52"' in zlib.decompress(row[1])]
    changed = zlib.compress(zlib.decompress(content).replace(b'"0.52"', b'"0.53"'))
    statement = "UPDATE live_data.desk_inputs SET content = %s WHERE campaign = %s AND first_input = %s"
    change(database, statement, changed, stored.campaign, first)
    passed, detail = replayed(database, stored)
    assert not passed
    assert "event " in detail
    assert "the state differs in " in detail
    assert "book" in detail


def test_a_changed_event_is_found(database: Database, stored: DeskState) -> None:
    change(
        database, "UPDATE live_data.desk_event SET price = 0.51 WHERE campaign = %s AND kind = 'buy'", stored.campaign
    )
    passed, detail = replayed(database, stored)
    assert (passed, detail.split(":")[0].split()[0]) == (False, "event")


def test_a_hole_in_the_journal_is_found(database: Database, stored: DeskState) -> None:
    change(database, "DELETE FROM live_data.desk_inputs WHERE campaign = %s AND first_input = 6", stored.campaign)
    assert replayed(database, stored) == (False, f"campaign {stored.campaign!r}: inputs 6 to 10 are not stored")


def test_a_journal_without_its_end_is_found(database: Database, stored: DeskState) -> None:
    change(database, "DELETE FROM live_data.desk_inputs WHERE campaign = %s AND first_input > 5", stored.campaign)
    passed, detail = replayed(database, stored)
    assert (passed, "are not stored" in detail) == (False, True)


def test_content_that_cannot_be_read_is_found(database: Database, stored: DeskState) -> None:
    change(database, "UPDATE live_data.desk_inputs SET content = '\\x00' WHERE campaign = %s", stored.campaign)
    passed, detail = replayed(database, stored)
    assert (passed, "cannot be read" in detail) == (False, True)
