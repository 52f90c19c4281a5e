"""Read the rows and columns of PostgreSQL's relations that a query needs, and store them in DuckDB."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import LiteralString

import duckdb
from psycopg import sql

from pipelines.errors import NoDataError
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements, read_rows, read_value
from pipelines.storage.queries.plan import Condition, Scan
from pipelines.storage.queries.statements import composed, duckdb_text

SQL = Statements(__name__)

#: Rows that one query may copy of a relation, other than the series below; 5,000,000 rows take about 10 s.
MOST_ROWS = 5_000_000
#: Tables with a row per symbol and instant, with the column of the instant. They are read as arrays, year by year:
#: binary arrays take a tenth of the time of CSV, and a year of bars 60 MB.
SERIES = {
    "historical_data.price_history": "opened_at",
    "historical_data.momentum": "opened_at",
    "live_data.price_log": "ticked_at",
}
#: PostgreSQL's types: in DuckDB, and numpy's in binary form where the width is fixed.
TYPES: Mapping[str, tuple[LiteralString, str | None]] = {
    "smallint": ("SMALLINT", ">i2"),
    "integer": ("INTEGER", ">i4"),
    "bigint": ("BIGINT", ">i8"),
    "real": ("FLOAT", ">f4"),
    "double precision": ("DOUBLE", ">f8"),
    "boolean": ("BOOLEAN", "?"),
    "date": ("DATE", None),
    "timestamp with time zone": ("TIMESTAMPTZ", ">i8"),
    "interval": ("INTERVAL", None),
    "numeric": ("DOUBLE", None),
    "jsonb": ("JSON", None),
}
#: Types whose values compare alike in PostgreSQL and DuckDB. Texts do for equality only, because of collations.
COMPARABLE = frozenset({"smallint", "integer", "bigint", "double precision", "date", "timestamp with time zone"})


@dataclass(frozen=True)
class Relation:
    """A table or view with its schema, and its columns with PostgreSQL's types."""

    name: str
    columns: list[str]
    types: list[LiteralString]
    not_null: list[bool]

    @cached_property
    def type_of(self) -> Mapping[str, LiteralString]:
        """PostgreSQL's type of each column."""
        return dict(zip(self.columns, self.types, strict=True))

    @property
    def identifier(self) -> sql.Identifier:
        """The quoted name, with the schema."""
        return sql.Identifier(*self.name.split(".", 1))

    def duckdb_type(self, column: str) -> LiteralString:
        """DuckDB's type of a column; text for a type that it lacks."""
        kind = self.type_of[column]
        name, _ = TYPES.get(kind.removesuffix("[]"), ("VARCHAR", None))
        return name + "[]" if kind.endswith("[]") else name

    def definitions(self, names: Sequence[str] | None = None) -> sql.Composable:
        """Columns, by default all, with DuckDB's types for a CREATE TABLE."""
        chosen = self.columns if names is None else names
        definition = sql.SQL("{} {}")
        return sql.SQL(", ").join(
            definition.format(sql.Identifier(name), sql.SQL(self.duckdb_type(name))) for name in chosen
        )

    def are_arrays(self, columns: frozenset[str]) -> bool:
        """Whether columns can be read as binary arrays without NULLs."""
        fixed = {
            column
            for column, kind, required in zip(self.columns, self.types, self.not_null, strict=True)
            if required and TYPES.get(kind, ("", None))[1] is not None
        }
        return self.name in SERIES and columns <= fixed | {"symbol"}


def read_relations(connection: Connection) -> list[Relation]:
    """The relations that the connection's role may read."""
    return read_rows(connection, Relation, SQL["relations"])


def load_relation(
    connection: Connection, queried: duckdb.DuckDBPyConnection, relation: Relation, scans: Sequence[Scan], scratch: Path
) -> None:
    """Store the rows and columns that the scans of a relation read, as `loaded."schema.name"` in DuckDB.

    Without columns, the rows have one column of NULLs. `scratch`: folder of a temporary file. Raises NoDataError for
    more than MOST_ROWS rows.
    """
    columns = frozenset[str]().union(*(scan.columns for scan in scans))
    target, where = sql.Identifier("loaded", relation.name), _where(relation, scans)
    names = [name for name in relation.columns if name in columns]
    if not columns:
        count = read_value(connection, composed(SQL["count"], relation=relation.identifier, conditions=where))
        queried.execute(duckdb_text(SQL["create_rows"], target=target, rows=sql.Literal(count)))
    elif relation.are_arrays(columns):
        queried.execute(duckdb_text(SQL["create_table"], target=target, columns=relation.definitions(names)))
        from pipelines.storage.queries.series import load_series

        load_series(connection, queried, relation, names, where)
    else:
        _load_rows(connection, queried, relation, names, where, scratch / "rows.csv")


def _load_rows(
    connection: Connection,
    queried: duckdb.DuckDBPyConnection,
    relation: Relation,
    names: Sequence[str],
    where: sql.Composable,
    path: Path,
) -> None:
    statement = composed(
        SQL["copy_out"],
        columns=sql.SQL(", ").join(_as_text(relation, name) for name in names),
        relation=relation.identifier,
        conditions=where,
        most_rows=sql.Literal(MOST_ROWS + 1),
    )
    with path.open("wb") as file, connection.cursor().copy(statement) as copy:
        for block in copy:
            file.write(block)
    fields = {name: "VARCHAR" if _is_array(relation, name) else relation.duckdb_type(name) for name in names}
    target, given = sql.Identifier("loaded", relation.name), sql.SQL(", ").join(_casts(relation, names))
    found = sql.SQL("{{{}}}").format(
        sql.SQL(", ").join(
            sql.SQL("{}: {}").format(sql.Literal(name), sql.Literal(kind)) for name, kind in fields.items()
        )
    )
    queried.execute(
        duckdb_text(SQL["create_from_csv"], target=target, columns=given, path=sql.Literal(str(path)), fields=found)
    )
    path.unlink()
    (row,) = queried.execute(duckdb_text(SQL["count_rows"], target=target)).fetchall()
    if row[0] > MOST_ROWS:
        raise NoDataError(
            f"the query reads more than {MOST_ROWS:,} rows of {relation.name}: compare a column of it with a constant, "
            "as in WHERE generation = 3, or use `strikecast psql`"
        )


def _is_array(relation: Relation, name: str) -> bool:
    return relation.type_of[name].endswith("[]")


def _as_text(relation: Relation, name: str) -> sql.Composable:
    """A column for CSV: arrays as DuckDB writes lists."""
    column = sql.Identifier(name)
    if not _is_array(relation, name):
        return column
    return composed(SQL["text_array" if relation.type_of[name] == "text[]" else "number_array"], column=column)


def _casts(relation: Relation, names: Sequence[str]) -> Iterator[sql.Composable]:
    for name in names:
        column, kind = sql.Identifier(name), sql.SQL(relation.duckdb_type(name))
        cast = sql.SQL("{}::JSON::{} AS {}" if relation.type_of[name] == "text[]" else "{}::{} AS {}")
        yield cast.format(column, kind, column)


def _where(relation: Relation, scans: Sequence[Scan]) -> sql.Composable:
    """A condition that holds for every row that a scan reads."""
    alternatives = [
        [_condition(relation, one) for one in scan.conditions if _is_comparable(relation, one)] for scan in scans
    ]
    if not all(alternatives):
        return sql.SQL("true")
    return sql.SQL(" OR ").join(sql.SQL("({})").format(sql.SQL(" AND ").join(each)) for each in alternatives)


def _is_comparable(relation: Relation, condition: Condition) -> bool:
    kind = relation.type_of[condition.column]
    return kind in COMPARABLE or (kind == "text" and condition.operator == "=")


def _condition(relation: Relation, condition: Condition) -> sql.Composable:
    column, kind = sql.Identifier(condition.column), sql.SQL(relation.type_of[condition.column])
    values = [sql.SQL("{}::{}").format(sql.Literal(value), kind) for value in condition.values]
    alternatives = [sql.SQL("{} {} {}").format(column, sql.SQL(condition.operator), value) for value in values]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(alternatives))
