"""Limits of the desk that are exceeded by what is open or lost: reported once, until they are kept again."""

from datetime import datetime
from decimal import Decimal, localcontext

from pipelines.domain.desk.state import DeskState
from pipelines.domain.desk.trades import Trade
from pipelines.domain.markets.fees import EXACT

DAILY_LOSS = "daily loss"


def exceeded(state: DeskState) -> dict[str, str]:
    """The limits that are exceeded, in words, by name.

    Positions and capital can exceed a limit only when it was lowered; the loss of a day reaches its limit by trading.
    """
    rules, found = state.rules, dict[str, str]()
    if state.loss_today_usd >= rules.daily_loss_usd:
        found[DAILY_LOSS] = f"{_usd(state.loss_today_usd)} were lost today, the limit is {_usd(rules.daily_loss_usd)}"
    trades = list(state.trades())
    for symbol in sorted({trade.symbol for trade in trades}):
        of_symbol = [trade for trade in trades if trade.symbol == symbol]
        with localcontext(EXACT):
            bound = sum((trade.bound_usd for trade in of_symbol), Decimal(0))
        if bound > rules.capital_per_symbol_usd:
            limit = _usd(rules.capital_per_symbol_usd)
            found[f"capital of {symbol}"] = f"{symbol} binds {_usd(bound)}, the limit is {limit}"
        if len(of_symbol) > rules.positions_per_symbol:
            limit_of = rules.positions_per_symbol
            found[f"positions of {symbol}"] = f"{symbol} has {len(of_symbol)} positions, the limit is {limit_of}"
    for event in sorted({trade.event_ticker for trade in trades}):
        count = sum(trade.event_ticker == event for trade in trades)
        if count > rules.positions_per_event:
            found[f"positions of {event}"] = f"{event} has {count} positions, the limit is {rules.positions_per_event}"
    return found


def lasting(state: DeskState, now: datetime) -> dict[str, str]:
    """The state's breaches that last at `now` (aware UTC): the loss of a day ends with it, also while no desk runs."""
    is_past = state.loss_usd(now) < state.rules.daily_loss_usd
    return {name: words for name, words in state.breaches.items() if not (is_past and name == DAILY_LOSS)}


def concerned(name: str, trade: Trade) -> bool:
    """Whether a limit, by its name in `exceeded`, is one of a trade's own."""
    own = f"capital of {trade.symbol}", f"positions of {trade.symbol}", f"positions of {trade.event_ticker}"
    return name == DAILY_LOSS or name in own


def _usd(amount: Decimal) -> str:
    """An amount without zeros at its end."""
    return f"{amount.normalize():f} USD"
