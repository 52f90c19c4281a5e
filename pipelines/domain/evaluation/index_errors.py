"""The settlement rule against recorded values of an index."""

import numpy as np

from pipelines.domain.markets.settlement import VALUES, Settlement, SettlementRule
from pipelines.domain.prices.bars import Floats, Ints


def spread_ratios(values: Floats, closes: Ints) -> tuple[Floats, Floats]:
    """Error of the mean of a minute of index values over the error predicted, r = 1..59 seconds before its end.

    `values`: float64[n], an index by the second, NaN where unknown; `closes`: positions of closes, the last second of
    their minute. Returns two float64[59]: with the effective time of the settlement rule, and with r seconds as for a
    last price. The variance per second is that of the values' own changes. Closes with unknown values are left out.
    """
    logs = np.log(values)
    changes = np.diff(logs)
    variance = float(np.nanmean(changes**2))
    settlement = Settlement(SettlementRule.MEAN_60S)
    with_rule, without = [], []
    for r in range(1, VALUES):
        # Of the mean of the values to come against the newest one.
        ahead = np.stack([values[closes - r + 1 + second] for second in range(r)]).mean(axis=0)
        errors = np.log(ahead / values[closes - r])
        squared = float(np.nanmean(errors**2))
        with_rule.append(np.sqrt(squared / (variance * settlement.effective_seconds(r))))
        without.append(np.sqrt(squared / (variance * r)))
    return np.array(with_rule), np.array(without)
