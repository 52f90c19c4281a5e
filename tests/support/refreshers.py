"""Refreshers of a symbol that answer from a nearly normal model, without a database."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import orjson

from pipelines.domain.markets.settlement import SettlementRule
from pipelines.domain.models.lookup import LookupRow, to_hundredths
from pipelines.domain.models.parametric import ParametricRule, axis_nodes, t_survival
from pipelines.domain.models.standardised_fingerprint import GROUPS, StandardisedParameters
from pipelines.domain.prices.season import Season
from pipelines.domain.prices.ticks import Tick
from pipelines.domain.prices.volatility import KNOTS_MINUTES, VolatilityParameters
from pipelines.live.champions import Champion
from pipelines.live.file_schema import require_probability_file
from pipelines.live.metrics import SessionMetrics
from pipelines.live.symbol_refresher import SymbolRefresher

CLOSE = datetime(2026, 7, 1, 14, tzinfo=UTC)
PRICE, TIER, SIGMA = 100_000.0, 10.0, 5e-4
VOLATILITY = VolatilityParameters(Season.of_day_kinds([1.0] * 192), np.zeros((len(KNOTS_MINUTES), 5)), 1e-9, 0)
RULE = ParametricRule(StandardisedParameters(VOLATILITY, tuple(np.linspace(-1, 1, GROUPS - 1)))).with_sigma(SIGMA)
WITHIN = to_hundredths(100.0 - 100.0 * t_survival(axis_nodes(), 200.0))
ROWS = {node: LookupRow(node, WITHIN, WITHIN, 1e6) for node in RULE.axes.ttcs_seconds}


class Files:
    """Keeps the last payload instead of writing it."""

    payload: dict[str, Any]

    def write(self, symbol: str, payload: dict[str, Any]) -> None:
        del symbol
        self.payload = orjson.loads(orjson.dumps(payload))
        require_probability_file(self.payload)


def refresher(rule: SettlementRule = SettlementRule.MEAN_60S) -> SymbolRefresher:
    """A refresher that answers from a nearly normal model with a constant volatility, without a database."""
    made = SymbolRefresher("BTC", TIER, cast(Any, Files()), SessionMetrics(), rule=rule)
    version = SimpleNamespace(generation=1, axes=RULE.axes, model="normal", buckets=(0,))
    made.use_champion(Champion(cast(Any, version), RULE, None, None, CLOSE))
    made._cache.update({(1, 0, node): row for node, row in ROWS.items()})
    return made


def tick_each_second(to: SymbolRefresher, first: int, last: int, price: float, shift: float = 0.0) -> None:
    """Ticks from `first` to `last` seconds before the close, dated `shift` seconds later than they are."""
    for before in range(first, last - 1, -1):
        to.add_tick(Tick(CLOSE - timedelta(seconds=before - shift), price))
