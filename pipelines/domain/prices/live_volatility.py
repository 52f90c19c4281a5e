"""Volatility state of one symbol, updated tick by tick."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from pipelines.domain.prices.volatility import VolatilityParameters, VolatilityState


class LiveVolatility:
    """Continues from the state after a bar. A tick exactly at the end of a minute belongs to that minute.

    Instants are minutes since 1970-01-01 UTC, with fractions. The close of a minute is the price of its last tick; a
    minute without ticks is missing, and the state stays unchanged.
    """

    def __init__(self, state: VolatilityState, parameters: VolatilityParameters) -> None:
        self._parameters = parameters
        self._closed = state
        self._newest: tuple[float, float] | None = None

    def add_all(self, ticks: Iterable[tuple[float, float]]) -> None:
        """Add ticks as (instant, price), oldest first."""
        for instant, price in ticks:
            self.add(instant, price)

    def add(self, instant: float, price: float) -> None:
        """Add a tick; ticks out of order, or before the close of the initial state's bar, are ignored."""
        if instant <= self._closed.minute + 1 or (self._newest is not None and instant < self._newest[0]):
            return
        self._close_minutes_before(int(np.ceil(instant)) - 1)
        self._newest = instant, price

    def current_state(self) -> VolatilityState:
        """State at the newest tick."""
        return self._closed if self._newest is None else self._closed.at(*self._newest, self._parameters)

    def _close_minutes_before(self, minute: int) -> None:
        """Close the newest tick's minute if it is before `minute`, and mark the minutes in between as missing."""
        if self._newest is not None:
            current = int(np.ceil(self._newest[0])) - 1
            if current >= minute:
                return
            self._closed = self._closed.at(current + 1.0, self._newest[1], self._parameters)
            self._newest = None
        if self._closed.minute < minute - 1:
            self._closed = replace(self._closed, minute=minute - 1, close=float("nan"))
