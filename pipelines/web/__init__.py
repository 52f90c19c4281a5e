"""`strikecast serve`: a read-only page of the ladders, JSON endpoints, events and a health report."""
