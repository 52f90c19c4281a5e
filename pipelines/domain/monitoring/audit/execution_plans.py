"""Execution plans in the server's JSON format: their shape, and wasteful sequential scans."""

import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

NUMBERS = re.compile(r"\d+")
#: A sequential scan that discards fewer rows is cheap.
MIN_ROWS = 1_000
#: Rows discarded for each row kept.
WASTEFUL_RATIO = 10


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A plan's nodes, outermost first."""
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


def shape(plan: Mapping[str, Any]) -> str:
    """Node types and the relations or indexes that they read: `Limit > Index Scan on price_log_pkey`.

    The same node on several partitions is shown once: `Index Scan on price_log_*_pkey (10)`.
    """
    names = []
    for node in nodes(plan):
        relation = node.get("Index Name") or node.get("Relation Name")
        names.append(node["Node Type"] + (f" on {relation}" if relation else ""))
    parts = []
    for pattern, group in groupby(names, lambda name: NUMBERS.sub("*", name)):
        same = list(group)
        parts.append(same[0] if len(same) == 1 else f"{pattern} ({len(same)})")
    return " > ".join(parts)


def sequential_scans(plan: Mapping[str, Any]) -> list[str]:
    """Relations of sequential scans that discard far more rows than they keep.

    Reading most of a table, or a table of a few blocks, is best done by a sequential scan.
    """
    found = []
    for node in nodes(plan):
        loops = float(node.get("Actual Loops", 1))
        kept = loops * float(node.get("Actual Rows", 0))
        discarded = loops * float(node.get("Rows Removed by Filter", 0))
        if node["Node Type"] == "Seq Scan" and discarded >= max(MIN_ROWS, WASTEFUL_RATIO * kept):
            found.append(node["Relation Name"])
    return found
