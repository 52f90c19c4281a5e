"""The paper desk's state, inputs, events, trades and ledger in `live_data`."""
