"""Which rows and columns of which relations a query reads, by the plan that DuckDB makes for it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import duckdb
import orjson

from pipelines.storage.postgres.statements import Statements

SQL = Statements(__name__)
EXPLAIN = SQL["explain"]

Operator = Literal["=", "<", "<=", ">", ">="]
OPERATORS: Mapping[str, Operator] = {
    "COMPARE_EQUAL": "=",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}
#: A filter that DuckDB derives from another one, and may skip.
DERIVED = "optional: "


@dataclass(frozen=True)
class Condition:
    """A comparison of a column with constants, as texts; of several values one must be equal."""

    column: str
    operator: Operator
    values: tuple[str, ...]


@dataclass(frozen=True)
class Scan:
    """One reading of a relation: the columns, and conditions that every row that counts fulfils."""

    relation: str
    columns: frozenset[str]
    conditions: tuple[Condition, ...] = ()


def read_scans(
    connection: duckdb.DuckDBPyConnection, statement: str, columns: Mapping[str, Sequence[str]]
) -> list[Scan]:
    """The scans of a SELECT on relations whose columns are given by their names, such as analytics.score.

    They do not depend on the rows of the relations: the connection must not propagate statistics. A filter that is no
    comparison with constants is left out, so that a scan covers at least what the query reads.
    """
    plans = connection.execute(f"{EXPLAIN} {statement}").fetchall()
    nodes = [node for _, text in plans for root in orjson.loads(text) for node in _nodes(root)]
    return [
        _scan(connection, name, columns[name], node["extra_info"])
        for node in nodes
        if (name := _relation(node["extra_info"])) in columns
    ]


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node["children"]:
        yield from _nodes(child)


def _relation(facts: Mapping[str, Any]) -> str:
    return str(facts.get("Table", "")).removeprefix("memory.").replace('"', "")


def _scan(
    connection: duckdb.DuckDBPyConnection, relation: str, columns: Sequence[str], facts: Mapping[str, Any]
) -> Scan:
    filters = _texts(facts.get("Filters"))
    words = {word for one in filters for word in re.findall(r"\w+", one)}
    used = words.union(_texts(facts["Projections"]))
    conditions = [found for one in filters for found in _conditions(connection, one.removeprefix(DERIVED))]
    return Scan(relation, frozenset(used.intersection(columns)), tuple(conditions))


def _texts(fact: str | list[str] | None) -> list[str]:
    """A fact of a plan: no text, one, or several."""
    return fact if isinstance(fact, list) else [fact] if fact else []


def _conditions(connection: duckdb.DuckDBPyConnection, expression: str) -> Iterator[Condition]:
    (row,) = connection.execute(SQL["parse"], [expression]).fetchall()
    parsed = orjson.loads(row[0])
    if not parsed["error"]:
        yield from _conjuncts(parsed["statements"][0]["node"]["where_clause"])


def _conjuncts(node: Mapping[str, Any]) -> Iterator[Condition]:
    match node:
        case {"type": "CONJUNCTION_AND", "children": children}:
            for child in children:
                yield from _conjuncts(child)
        case {"class": "COMPARISON", "type": kind, "left": {"column_names": [column]}, "right": right}:
            if kind in OPERATORS and (value := _constant(right)) is not None:
                yield Condition(column, OPERATORS[kind], (value,))
        case {"type": "COMPARE_IN", "children": [{"column_names": [column]}, *others]}:
            values = [_constant(other) for other in others]
            if None not in values:
                yield Condition(column, "=", tuple(value for value in values if value is not None))


def _constant(node: Mapping[str, Any]) -> str | None:
    match node:
        case {"type": "VALUE_CONSTANT", "literal": {"kind": "STRING" | "INTEGER" | "NUMERIC", "text": str(text)}}:
            return text
        case {"type": "OPERATOR_CAST", "child": child}:
            return _constant(child)
    return None
