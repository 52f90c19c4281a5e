"""Volatility of a symbol as its ticks come in: the state after the last whole minute, and the state at a tick."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from pipelines.domain.prices.volatility import VolatilityParameters, VolatilityState


class LiveVolatility:
    """Goes on from a state after a bar. A tick at the very end of a minute belongs to that minute.

    Instants are minutes since 1970 UTC, with fractions. The price of a minute is that of its last tick; a minute
    without a tick is missing, and the state is held.
    """

    def __init__(self, state: VolatilityState, parameters: VolatilityParameters) -> None:
        self._parameters = parameters
        self._closed = state
        self._newest: tuple[float, float] | None = None

    def add_all(self, ticks: Iterable[tuple[float, float]]) -> None:
        """Take in (instant, price), oldest first."""
        for instant, price in ticks:
            self.add(instant, price)

    def add(self, instant: float, price: float) -> None:
        """Take in a tick; one before the state's own bar had closed changes nothing."""
        if instant <= self._closed.minute + 1 or (self._newest is not None and instant < self._newest[0]):
            return
        self._close_minutes_before(int(np.ceil(instant)) - 1)
        self._newest = instant, price

    def current_state(self) -> VolatilityState:
        """State at the newest tick."""
        return self._closed if self._newest is None else self._closed.at(*self._newest, self._parameters)

    def _close_minutes_before(self, minute: int) -> None:
        """Close the minute of the newest tick if it is over, and leave a gap up to `minute` if there is one."""
        if self._newest is not None:
            running = int(np.ceil(self._newest[0])) - 1
            if running >= minute:
                return
            self._closed = self._closed.at(running + 1.0, self._newest[1], self._parameters)
            self._newest = None
        if self._closed.minute < minute - 1:
            self._closed = replace(self._closed, minute=minute - 1, close=float("nan"))
