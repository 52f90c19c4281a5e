"""Recordings of markets: files of quotes, candles and results, recognised by their columns."""
