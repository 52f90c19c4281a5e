"""Bars, ticks, momentum, volatility and history."""
