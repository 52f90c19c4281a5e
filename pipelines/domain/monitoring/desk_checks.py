"""Checks of the paper desk: its ledger balances, its positions are settled, and its journal gives its state again."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, localcontext

from pipelines.domain.desk.book import Account
from pipelines.domain.desk.state import DeskState, stranded
from pipelines.domain.markets.fees import EXACT
from pipelines.domain.models.invariants import CheckResult
from pipelines.domain.monitoring.desk_facts import STRANDED_AFTER

#: Examples in a detail.
SHOWN = 3


@dataclass(frozen=True)
class Ledger:
    """A campaign's stored ledger beside its saved state.

    `balances`: USD by account; `unbalanced`: numbers of the events whose amounts do not add up to zero.
    """

    state: DeskState
    balances: Mapping[Account, Decimal]
    unbalanced: Sequence[int]


def check_balances(ledgers: Sequence[Ledger]) -> CheckResult:
    """Each event's amounts add up to zero, so do all balances, and each balance is that of the saved state's book."""
    broken = []
    for ledger in ledgers:
        name, state = ledger.state.campaign, ledger.state
        broken += [f"{name}: the amounts of event {event} do not add up to zero" for event in ledger.unbalanced]
        with localcontext(EXACT):
            left = sum(ledger.balances.values(), Decimal(0))
        if left:
            broken.append(f"{name}: all balances add up to {left} USD")
        for account in Account:
            stored, saved = ledger.balances[account], state.book.balances[account]
            if stored != saved:
                broken.append(f"{name}: {account} is {stored} USD in the ledger and {saved} USD in the saved state")
    return CheckResult("desk_book_balances", len(broken), len(ledgers) * (len(Account) + 1), _examples(broken))


def check_settled(states: Sequence[DeskState], now: datetime) -> CheckResult:
    """No trade is active longer than STRANDED_AFTER after its market's close, at `now` (aware UTC)."""
    left = [
        f"{state.campaign}: {trade.key}: {trade.held.normalize():f} contracts, closed {trade.closes_at:%F %H:%M} UTC"
        for state in states
        for trade in stranded(state.trades(), now, STRANDED_AFTER)
    ]
    return CheckResult(
        "desk_positions_are_settled", len(left), sum(len(state.active) for state in states), _examples(left)
    )


def check_replay(inputs: int, differences: Sequence[str]) -> CheckResult:
    """A journal of so many inputs, applied again, gives the saved events and the saved state, byte for byte."""
    return CheckResult("desk_replays_equal", len(differences), inputs, _examples(differences))


def _examples(texts: Iterable[str]) -> str:
    shown = list(texts)
    more = f"; and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return "; ".join(shown[:SHOWN]) + more
