"""Execution plans as the server explains them in JSON: their shape, and what they read from end to end."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

NUMBERS = re.compile(r"\d+")
#: Fewer rows fit into a few blocks, where a sequential scan is the best plan.
LEAST_ROWS = 1_000
#: Rows thrown away for one that is kept.
IN_VAIN = 10


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A plan's nodes, outermost first."""
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


def shape(plan: Mapping[str, Any]) -> str:
    """The nodes' kinds and what they read: `Limit > Index Scan on price_log_pkey`.

    The same on each of many partitions is told once: of `price_log_20260131_pkey`, as `price_log_*_pkey (10)`.
    """
    told: list[tuple[str, str, int]] = []
    for node in nodes(plan):
        of = node.get("Index Name") or node.get("Relation Name")
        name = node["Node Type"] + (f" on {of}" if of else "")
        alike = NUMBERS.sub("*", name)
        if told and told[-1][1] == alike:
            told[-1] = (alike, alike, told[-1][2] + 1)
        else:
            told.append((name, alike, 1))
    return " > ".join(name if count == 1 else f"{name} ({count})" for name, _, count in told)


def sequential_scans(plan: Mapping[str, Any]) -> list[str]:
    """Relations that are read from end to end in vain: far more rows are thrown away than kept.

    To read most of a table is best done from end to end, and a table of a few blocks, too.
    """
    found = []
    for node in nodes(plan):
        loops = float(node.get("Actual Loops", 1))
        kept = loops * float(node.get("Actual Rows", 0))
        in_vain = loops * float(node.get("Rows Removed by Filter", 0))
        if node["Node Type"] == "Seq Scan" and in_vain >= max(LEAST_ROWS, IN_VAIN * kept):
            found.append(node["Relation Name"])
    return found
