"""Markets of exchanges: contracts, quotes, candles and fees in `market_data`."""
