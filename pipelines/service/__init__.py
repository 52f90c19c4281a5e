"""`strikecast up`: start-up, supervision, logging and status of the whole system."""
