"""How an order meets a quote: what is filled, at which price, and what it costs. An order takes; it never makes."""

from datetime import datetime
from decimal import Decimal, localcontext

from pipelines.domain.desk.decisions import affordable
from pipelines.domain.desk.rules import DeskRules
from pipelines.domain.desk.trades import Order, OrderFill
from pipelines.domain.markets.fees import EXACT, FeeTerms, Fill, next_fee


def meets(order: Order, price: Decimal) -> bool:
    """Whether a price is at the order's limit or better."""
    return price >= order.limit if order.is_sale else price <= order.limit


def fill_order(
    order: Order,
    at: datetime,
    price: Decimal,
    available: Decimal,
    terms: FeeTerms,
    rules: DeskRules,
    cash_usd: Decimal,
) -> OrderFill | None:
    """Add to the order what a quote fills of it at `at` (aware UTC), and return it; None when nothing is filled.

    `price`: of the quote, dollars of the side; `available`: contracts at it. A purchase costs, with its fee, at most
    the cash, and the order at most the stake; where these do not pay for all contracts, whole ones are filled.
    """
    contracts = min(order.open_contracts, available)
    if not order.is_sale:
        with localcontext(EXACT):
            money = min(cash_usd, rules.stake_usd - order.value_usd - order.fees_usd)
        contracts = min(contracts, affordable(money, price, terms, rules.balance_precision_usd))
    if contracts <= 0:
        return None
    fee, order.rounding_usd = next_fee(
        Fill(contracts, price, is_sale=order.is_sale), terms, rules.balance_precision_usd, order.rounding_usd
    )
    fill = OrderFill(at, contracts, price, fee)
    order.fills.append(fill)
    return fill
