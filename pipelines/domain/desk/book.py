"""A book of double entry: each posting is a list of amounts that add up to zero, and so do the balances.

Debits are positive: cash and positions are what the desk has, fees what it paid; capital and result are what it owes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from enum import StrEnum

from pipelines.domain.markets.fees import EXACT


class Account(StrEnum):
    """An account of the book."""

    CASH = "cash"
    #: Open positions at cost, without fees.
    POSITIONS = "positions"
    FEES = "fees"
    #: Gains (negative) and losses of positions that were sold or settled, before fees.
    RESULT = "result"
    CAPITAL = "capital"


Posting = Mapping[Account, Decimal]


def posting(*, cash: Decimal, fees: Decimal = Decimal(0), positions: Decimal = Decimal(0)) -> Posting:
    """The posting that changes cash, fees and positions (dollars) and balances in the result."""
    with localcontext(EXACT):
        amounts = {
            Account.CASH: cash,
            Account.POSITIONS: positions,
            Account.FEES: fees,
            Account.RESULT: -(cash + positions + fees),
        }
    return {account: amount for account, amount in amounts.items() if amount}


@dataclass
class Book:
    """Balances by account, dollars."""

    balances: dict[Account, Decimal] = field(default_factory=lambda: dict.fromkeys(Account, Decimal(0)))

    @classmethod
    def opened(cls, capital_usd: Decimal) -> "Book":
        """A book with this capital in cash."""
        book = cls()
        book.post({Account.CASH: capital_usd, Account.CAPITAL: -capital_usd})
        return book

    def post(self, amounts: Posting) -> None:
        """Add a posting. Raises ValueError, and changes nothing, when its amounts do not add up to zero."""
        with localcontext(EXACT):
            if total := sum(amounts.values(), Decimal(0)):
                raise ValueError(f"a posting of {dict(amounts)} does not balance: {total} is left")
            for account, amount in amounts.items():
                self.balances[account] += amount

    @property
    def imbalance_usd(self) -> Decimal:
        """The sum of all balances, which must be zero."""
        with localcontext(EXACT):
            return sum(self.balances.values(), Decimal(0))

    @property
    def cash_usd(self) -> Decimal:
        return self.balances[Account.CASH]

    @property
    def gain_usd(self) -> Decimal:
        """Gain of closed positions less all fees."""
        return -self.balances[Account.RESULT] - self.balances[Account.FEES]
