"""Clients of the exchanges of markets: their messages, and the requests for them."""
