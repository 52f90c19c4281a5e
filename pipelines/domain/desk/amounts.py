"""The amounts by which an account is judged."""

from collections import Counter
from datetime import datetime
from decimal import Decimal, localcontext

from pipelines.domain.desk.book import Account
from pipelines.domain.desk.reasons import Rejection
from pipelines.domain.desk.state import DeskState
from pipelines.domain.markets.fees import EXACT

#: Names of `amounts`, in their order.
AMOUNTS = (
    "capital_usd",
    "cash_usd",
    "equity_usd",
    "gain_usd",
    "open_gain_usd",
    "fees_usd",
    "drawdown_usd",
    "max_drawdown_usd",
    "loss_today_usd",
    "daily_loss_limit_usd",
)


def amounts(state: DeskState, now: datetime) -> dict[str, Decimal]:
    """The amounts of an account at `now` (aware UTC), named AMOUNTS.

    `gain_usd`: of closed positions, less all fees; `open_gain_usd`: of open positions at the newest bid, without fees.
    Capital and both gains add up to the equity.
    """
    with localcontext(EXACT):
        capital, equity = -state.book.balances[Account.CAPITAL], state.equity_usd
        values = (
            capital,
            state.book.cash_usd,
            equity,
            state.book.gain_usd,
            equity - capital - state.book.gain_usd,
            state.book.balances[Account.FEES],
            state.highest_equity_usd - equity,
            state.max_drawdown_usd,
            state.loss_usd(now),
            state.rules.daily_loss_usd,
        )
    return dict(zip(AMOUNTS, values, strict=True))


def rejections(state: DeskState) -> Counter[Rejection]:
    """How often a market was looked at and not entered, by reason, of all symbols."""
    found: Counter[Rejection] = Counter()
    for totals in state.totals.values():
        found.update(totals.rejections)
    return found
