"""The checks of the paper desk: each passes on a good account, and fails on one that is broken."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sample_desks import traded

from pipelines.domain.desk.book import Account
from pipelines.domain.monitoring.desk_checks import Ledger, check_balances, check_replay, check_settled
from pipelines.domain.monitoring.desk_facts import STRANDED_AFTER

UNTIL = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    """Three trades settled and one open; the ledger is that of the book."""
    state, events = traded(UNTIL, 4)
    balances = dict.fromkeys(Account, Decimal(0))
    balances |= {Account.CASH: Decimal(10_000), Account.CAPITAL: Decimal(-10_000)}
    for event in events:
        for account, amount in event.posting.items():
            balances[account] += amount
    return Ledger(state, balances, [])


def test_the_postings_of_all_events_are_the_book(ledger: Ledger) -> None:
    result = check_balances([ledger])
    assert (result.passed, result.total, result.detail) == (True, len(Account) + 1, "")
    assert check_balances([]).passed


def test_a_posting_that_was_lost_is_found(ledger: Ledger) -> None:
    lost = ledger.balances | {Account.FEES: ledger.balances[Account.FEES] - Decimal("0.0001")}
    result = check_balances([replace(ledger, balances=lost)])
    assert (result.passed, result.failed) == (False, 2)
    assert result.detail == (
        "paper: all balances add up to -0.0001 USD; paper: fees is 4.1935 USD in the ledger and 4.1936 USD in the saved state"
    )


def test_an_event_that_does_not_balance_is_named(ledger: Ledger) -> None:
    result = check_balances([replace(ledger, unbalanced=[7, 9])])
    assert (result.failed, result.detail.split("; ")[0]) == (2, "paper: the amounts of event 7 do not add up to zero")


def test_balances_that_are_moved_between_accounts_are_found(ledger: Ledger) -> None:
    """They add up to zero as ever."""
    moved = dict(ledger.balances)
    moved[Account.CASH] += 1
    moved[Account.RESULT] -= 1
    assert check_balances([replace(ledger, balances=moved)]).failed == 2


def test_a_position_without_a_settlement_is_listed_after_the_patience(ledger: Ledger) -> None:
    [trade] = ledger.state.trades()
    assert check_settled([ledger.state], trade.closes_at + STRANDED_AFTER).passed
    result = check_settled([ledger.state], trade.closes_at + STRANDED_AFTER + timedelta(seconds=1))
    assert (result.passed, result.failed, result.total) == (False, 1, 1)
    assert result.detail == f"paper: {trade.key}: 60 contracts, closed 2026-07-01 12:00 UTC"


def test_a_replay_that_differs_fails_and_shows_some_differences() -> None:
    assert check_replay(100, []).passed
    result = check_replay(100, ["one", "two", "three", "four"])
    assert (result.passed, result.detail) == (False, "one; two; three; and 1 more")
