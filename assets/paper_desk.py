"""The paper desk's account, of the group `markets`: a report each hour, and checks of its book and its journal.

The live session trades; nothing here changes the account.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from assets.common import chart_metadata, invariant_results, table_definition, table_metadata
from pipelines.domain.desk.amounts import amounts, rejections
from pipelines.domain.desk.limits import lasting
from pipelines.domain.desk.state import DeskState
from pipelines.domain.monitoring.desk_checks import check_balances, check_settled
from pipelines.evaluation.desk_charts import account_chart
from pipelines.evaluation.desk_replay import replay
from pipelines.processes.priority import in_background
from pipelines.resources import DatabaseResource, SettingsResource, markdown_table
from pipelines.storage.desk.journal import read_ledgers
from pipelines.storage.desk.reads import read_equity, read_trades
from pipelines.storage.desk.rows import EquityPoint, TradeRow
from pipelines.storage.desk.store import read_state

#: The chart begins, and so does a replay, so long ago.
CHARTED, REPLAYED = timedelta(days=7), timedelta(days=1)
SHOWN_TRADES = 50
CHECKS = {
    "desk_book_balances": "In each campaign's ledger the amounts of each event add up to zero, so do all balances, and "
    "each balance is that of the saved state.",
    "desk_positions_are_settled": "No trade is active more than an hour after its market's close.",
}


def _facts(state: DeskState, equity: list[EquityPoint], trades: list[TradeRow], now: datetime) -> dict[str, Any]:
    """The account's numbers at `now` (aware UTC), which the UI plots; its trades and rejections as tables."""
    held = [(one.key, one.stage, one.held, one.cost_usd, one.last_bid, one.closes_at) for one in state.trades()]
    ended = [
        (one.trade, one.ticker, one.side, one.stage, one.result, one.bought_contracts, one.fees_usd, one.gain_usd)
        for one in trades
        if one.ended_at is not None
    ]
    return {
        **{name: float(value) for name, value in amounts(state, now).items()},
        "open_positions": len(held),
        "stopped": state.stopped or "no",
        "breaches": markdown_table(("limit", "exceeded"), sorted(lasting(state, now).items())),
        "newest_input": dg.MetadataValue.timestamp(state.at),
        "saves": len(equity),
        "positions": markdown_table(("trade", "stage", "contracts", "cost, USD", "bid, USD", "closes"), held),
        "trades": markdown_table(("trade", "market", "side", "stage", "result", "contracts", "fees", "gain"), ended),
        "rejections": markdown_table(("why a market was not entered", "times"), rejections(state).most_common()),
    }


@dg.asset(
    deps=["strike_table", "market"],
    kinds={"postgres", "matplotlib"},
    code_version="1",
    metadata=table_definition("live_data.desk_trade"),
)
def paper_desk(
    context: dg.AssetExecutionContext, settings: SettingsResource, database: DatabaseResource
) -> dg.MaterializeResult:
    """The account of the paper desk, which trades on paper by rules: live_data.desk_trade.

    The live session trades and saves; materializing this reports the newest saved state, with the equity of a week.
    """
    campaign, now = settings.values.desk_campaign, datetime.now(UTC)
    with database.transaction("paper_desk") as connection:
        state = read_state(connection, campaign)
        equity = read_equity(connection, campaign, now - CHARTED)
        trades = read_trades(connection, campaign, limit=SHOWN_TRADES)
        table = table_metadata(0 if state is None else state.next_number - 1)
    enabled: dict[str, Any] = {"campaign": campaign, "enabled": settings.values.desk_is_enabled}
    if state is None:
        return dg.MaterializeResult(metadata={**table, **enabled})
    facts = _facts(state, equity, trades, now)
    chart = account_chart(equity, facts["capital_usd"], f"paper desk, campaign {campaign}")
    charts = chart_metadata(context, {"equity": chart}, settings, database, f"desk_{campaign}")
    return dg.MaterializeResult(metadata={**table, **enabled, **facts, **charts})


@dg.multi_asset_check(
    specs=[dg.AssetCheckSpec(name, asset="paper_desk", description=text) for name, text in CHECKS.items()]
)
def paper_desk_checks(database: DatabaseResource) -> Iterator[dg.AssetCheckResult]:
    """Check the ledgers and the positions of all campaigns."""
    with database.transaction("paper_desk checks") as connection:
        ledgers = read_ledgers(connection)
    now = datetime.now(UTC)
    found = [check_balances(ledgers), check_settled([ledger.state for ledger in ledgers], now)]
    yield from invariant_results(found, {"desk_positions_are_settled"})


@dg.asset_check(
    asset="paper_desk",
    description="The last day's journal, applied again to the state before it, gives the saved state byte for byte.",
)
def desk_replays_equal(settings: SettingsResource, database: DatabaseResource) -> dg.AssetCheckResult:
    """Replay the last day of the configured campaign, at low priority: it takes minutes beside the live session."""
    campaign, since = settings.values.desk_campaign, datetime.now(UTC) - REPLAYED
    with in_background() as background:
        result = background(lambda: replay(database.database, campaign, since))
    [checked] = invariant_results([result])
    return checked
