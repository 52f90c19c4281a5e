"""The paper desk: trades on paper by rules, with the prices, fees and settlement that money would meet. Pure."""
