"""The paper desk's account for readers: its state in a word with the reasons, amounts, positions, rejections.

All amounts are USD and exact, as text, because JSON's numbers would be rounded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from pipelines.domain.desk.amounts import AMOUNTS, amounts, rejections
from pipelines.domain.desk.limits import lasting
from pipelines.domain.desk.state import DeskState, stranded
from pipelines.domain.desk.trades import Trade
from pipelines.domain.models.freshness import age_text
from pipelines.domain.models.ladder import iso
from pipelines.domain.monitoring.desk_facts import STRANDED_AFTER, UNSAVED_AFTER
from pipelines.storage.desk.rows import EquityPoint, TradeRow
from pipelines.storage.desk.switch import Switch

NOT_ENABLED = "no trade is entered: in the settings [desk] enabled is false, or [markets] names no exchange"


class DeskStatus(StrEnum):
    """What the desk does, in a word."""

    RUNNING = "running"
    #: By an operator's order.
    STOPPED = "stopped"
    #: A limit is exceeded.
    LIMIT = "limit exceeded"
    #: Enabled, without a state that was saved lately.
    SILENT = "not running"
    DISABLED = "not enabled"


@dataclass(frozen=True)
class StoredDesk:
    """What is stored of a campaign: the newest state and when it was saved (aware UTC), both None before the first.

    `switch`: the newest order of an operator; `equity`: oldest first; `trades`: the newest ones, newest first.
    """

    state: DeskState | None = None
    saved_at: datetime | None = None
    switch: Switch | None = None
    equity: Sequence[EquityPoint] = ()
    trades: Sequence[TradeRow] = ()


@dataclass(frozen=True)
class DeskAccount:
    """A campaign with what the settings say of it; `simulated`: whether its markets are those of this machine."""

    campaign: str
    enabled: bool
    simulated: bool
    stored: StoredDesk

    @property
    def state(self) -> DeskState | None:
        """The newest saved state."""
        return self.stored.state

    @property
    def stop_reason(self) -> str | None:
        """Why an operator has stopped the desk; None when it is not. The newest order counts before it is obeyed."""
        switch = self.stored.switch
        if switch is not None:
            return f"{switch.reason} (by {switch.by}, {switch.at:%Y-%m-%d %H:%M} UTC)" if switch.stopped else None
        return None if self.state is None else self.state.stopped

    def age_seconds(self, now: datetime) -> float | None:
        """Age of the saved state at `now` (aware UTC)."""
        return None if self.stored.saved_at is None else (now - self.stored.saved_at).total_seconds()

    def judge(self, now: datetime) -> tuple[DeskStatus, list[str]]:
        """The state in a word at `now` (aware UTC), and why it is not another one."""
        if not self.enabled:
            return DeskStatus.DISABLED, [NOT_ENABLED]
        age = self.age_seconds(now)
        if self.state is None or age is None:
            return DeskStatus.SILENT, [f"no state of campaign {self.campaign} has been saved yet"]
        stopped = [] if self.stop_reason is None else [self.stop_reason]
        reasons = stopped + [words for _, words in sorted(lasting(self.state, now).items())]
        if age > UNSAVED_AFTER.total_seconds():
            silent = f"the state was saved {age_text(age)} ago; a desk that runs saves it each minute"
            return DeskStatus.SILENT, [silent, *reasons]
        if stopped:
            return DeskStatus.STOPPED, reasons
        return (DeskStatus.LIMIT if reasons else DeskStatus.RUNNING), reasons

    def stranded(self, now: datetime) -> set[int]:
        """Numbers of the trades that are not settled in time at `now` (aware UTC)."""
        trades = () if self.state is None else self.state.trades()
        return {trade.number for trade in stranded(trades, now, STRANDED_AFTER)}


def desk_report(account: DeskAccount, now: datetime) -> dict[str, Any]:
    """The account at `now` (aware UTC) in JSON's types; without a state, amounts are null and lists empty."""
    status, reasons = account.judge(now)
    state, saved_at, age = account.state, account.stored.saved_at, account.age_seconds(now)
    found: dict[str, Any] = {
        "at": iso(now),
        "campaign": account.campaign,
        "mode": "paper",
        "simulated": account.simulated,
        "enabled": account.enabled,
        "status": str(status),
        "reasons": reasons,
        "stopped": account.stop_reason is not None,
        "saved_at": None if saved_at is None else iso(saved_at),
        "age_seconds": None if age is None else round(age, 3),
    }
    if state is None:
        return {**found, "started_at": None, **dict.fromkeys(AMOUNTS), "positions": [], "symbols": {}, "rejections": {}}
    left = account.stranded(now)
    return {
        **found,
        "started_at": iso(state.started_at),
        **{name: exact(value) for name, value in amounts(state, now).items()},
        "positions": [_position(trade, now, is_stranded=trade.number in left) for trade in state.trades()],
        "symbols": {
            symbol: {
                "allowed": totals.allowed,
                "opened": totals.opened,
                "closed": totals.closed,
                "winning": totals.winning,
                "losing": totals.losing,
                "gain_usd": exact(totals.gain_usd),
                "rejections": {str(reason): totals.rejections[reason] for reason in sorted(totals.rejections)},
            }
            for symbol, totals in sorted(state.totals.items())
        },
        "rejections": {str(reason): count for reason, count in rejections(state).most_common()},
    }


def _position(trade: Trade, now: datetime, *, is_stranded: bool) -> dict[str, Any]:
    """An active trade in JSON's types."""
    bid = trade.last_bid
    return {
        "trade": trade.number,
        "symbol": trade.symbol,
        "event_ticker": trade.event_ticker,
        "ticker": trade.ticker,
        "side": str(trade.side),
        "stage": str(trade.stage),
        "is_stranded": is_stranded,
        "ordered_contracts": exact(trade.entry.contracts),
        "held_contracts": exact(trade.held),
        "limit_usd": exact(trade.entry.limit),
        "cost_usd": exact(trade.cost_usd),
        "fees_usd": exact(trade.fees_usd),
        "bid_usd": None if bid is None else exact(bid),
        "probability": exact(trade.probability),
        "edge_usd": exact(trade.edge_usd),
        "signalled_at": iso(trade.signalled_at),
        "closes_at": iso(trade.closes_at),
        "seconds_to_close": max(0, round((trade.closes_at - now).total_seconds())),
    }


def exact(value: Decimal) -> str:
    """A decimal as plain text, without zeros at its end.

    >>> exact(Decimal("9987.1200")), exact(Decimal("1E+4")), exact(Decimal("-0.00"))
    ('9987.12', '10000', '0')
    """
    text = format(value, "f") if value else "0"
    return text.rstrip("0").rstrip(".") if "." in text else text
