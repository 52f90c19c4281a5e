"""Execution plans as the server explains them in JSON: their shape, and what they read from end to end."""

from collections.abc import Iterator, Mapping
from typing import Any

#: Fewer rows fit into a few blocks, where a sequential scan is the best plan.
LEAST_ROWS = 1_000


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A plan's nodes, outermost first."""
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


def shape(plan: Mapping[str, Any]) -> str:
    """The nodes' kinds and what they read: `Limit > Index Scan on price_log_pkey`."""
    told = []
    for node in nodes(plan):
        of = node.get("Index Name") or node.get("Relation Name")
        told.append(node["Node Type"] + (f" on {of}" if of else ""))
    return " > ".join(told)


def sequential_scans(plan: Mapping[str, Any]) -> list[str]:
    """Relations that are read from end to end, and have enough rows for that to be a mistake."""
    return [
        node["Relation Name"]
        for node in nodes(plan)
        if node["Node Type"] == "Seq Scan"
        and node.get("Actual Rows", 0) + node.get("Rows Removed by Filter", 0) >= LEAST_ROWS
    ]
