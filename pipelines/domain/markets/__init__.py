"""Rules of the markets: contracts, order books, fees, settlement, and the basis between an index and our price."""
