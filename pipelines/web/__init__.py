"""`strikecast serve`: a read-only page of the ladders, JSON endpoints, and the truth about their health."""
