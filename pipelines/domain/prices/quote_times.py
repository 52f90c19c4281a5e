"""Times of quotes that settings and alerts use, too; not in `ticks`, whose numpy every command would import."""

from datetime import timedelta

#: End of a problem with the timestamps of prices: a clock is wrong, which an alert follows.
AHEAD_OF_CLOCK = "ahead of this machine's clock"
#: A repeated quote confirms its price for this long after its time: a minute without a trade has no bar either.
MAX_REPEAT = timedelta(seconds=60)
