"""Rules of the markets: settlement, and the basis between a market's index and our price."""
