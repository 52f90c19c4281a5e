"""The simulated exchange of the demonstration and of the tests: markets on our own prices, in the exchange's shapes."""
