"""Run a query in DuckDB's SQL on the relations of PostgreSQL, and on every bar, stored or archived.

The relations are empty tables at first. DuckDB's plan of the query tells which rows and columns it reads, and only
those are copied. Archived bars are read where they are.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import duckdb
from psycopg import DataError, sql

from pipelines.errors import NoDataError, SettingsError, single_line
from pipelines.log import Log
from pipelines.storage.files.archive import Archive
from pipelines.storage.postgres.connection import Connection, Database
from pipelines.storage.postgres.reading import read
from pipelines.storage.postgres.statements import Statements
from pipelines.storage.prices.archive_files import ArchiveFile, archive_files, files_with_stored_bars
from pipelines.storage.queries.plan import EXPLAIN, Scan, read_scans
from pipelines.storage.queries.relations import Relation, load_relation, read_relations
from pipelines.storage.queries.statements import composed, duckdb_text

if TYPE_CHECKING:  # takes half a second to import
    import polars as pl

SQL = Statements(__name__)

PRICES = "historical_data.price_history"
#: Of statements and functions that list relations.
LISTING = ("show", "describe", "information_schema", "duckdb_", "pg_")
OPTIONS: dict[str, Any] = {
    "memory_limit": "2GB",
    "temp_directory": "",  # nothing is spilled to disk
    "python_enable_replacements": False,  # names in a query are not variables of this program
}


@dataclass(frozen=True)
class QueryResult:
    """The result of a query: names of its columns, and its rows, which are fetched as they are needed."""

    found: duckdb.DuckDBPyRelation
    scratch: Path

    @property
    def names(self) -> list[str]:
        """Names of the columns, in order."""
        return list(self.found.columns)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The rows as Python's values; times are aware, UTC. Raises NoDataError."""
        with _translate_errors():
            yield from self.found.iter_rows()

    def frame(self) -> "pl.DataFrame":
        """The result as a polars frame; times are in UTC. Raises NoDataError, also for a type that polars lacks."""
        import polars as pl

        for name, kind in zip(self.names, map(str, self.found.types), strict=True):
            if "INTERVAL" in kind:
                raise NoDataError(f"{name} has type {kind}, which a frame cannot hold: cast it, as by {name}::VARCHAR")
        with self.parquet() as file:
            frame = pl.read_parquet(file, memory_map=False)
        return frame.with_columns(pl.selectors.datetime(time_zone="*").dt.convert_time_zone("UTC"))

    @contextmanager
    def parquet(self) -> Iterator[Path]:
        """The result as a Parquet file that exists within the context. Raises NoDataError.

        Frames are read from it: after a result in Arrow's form, DuckDB 2.0 reports leaks at the exit of the process.
        """
        file = self.scratch / "result.parquet"
        with _translate_errors():
            self.found.write_parquet(str(file))
        try:
            yield file
        finally:
            file.unlink()


@contextmanager
def query_database(database: Database, archive: Archive, statement: str, log: Log) -> Iterator[QueryResult]:
    """As `run_query` with a reader's connection, which is closed before the result is used.

    Files of bars that the archive lacks are fetched first. Raises SharedFilesError, too.
    """
    with ExitStack() as stack:

        def run(connection: Connection) -> QueryResult:
            return stack.enter_context(run_query(connection, archive.complete(connection, log), statement))

        yield read(database, "query", run)


@contextmanager
def run_query(connection: Connection, archive: Path, statement: str) -> Iterator[QueryResult]:
    """The result of one SELECT on `price` and the relations of PostgreSQL that the connection may read.

    `price`: symbol, opened_at (UTC), open, high, low, close (USD), volume (coins), archived. Raises SettingsError for
    another statement than a SELECT, and NoDataError for one that fails.
    """
    with TemporaryDirectory(prefix="strikecast-query-") as scratch, duckdb.connect(config=OPTIONS) as queried:
        with _translate_errors():
            pivot, files = _is_pivot(queried, statement), archive_files(archive)
            relations = _mentioned(read_relations(connection), statement)
            _restrict(queried, files, Path(scratch))
            _create_relations(queried, relations)
            _create_price(queried, files, files_with_stored_bars(connection, files))
            scans = _scans(queried, statement, relations, pivot=pivot)
            queried.execute(SQL["finish_planning"])
            _load(connection, queried, relations, scans, Path(scratch))
            result = queried.sql(statement)
        yield QueryResult(result, Path(scratch))


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, DataError) as error:
        text = str(error).replace(f"{EXPLAIN} ", "")  # the statement that was planned
        raise NoDataError(f"the query failed: {single_line(text)}") from error


def _restrict(queried: duckdb.DuckDBPyConnection, files: Sequence[ArchiveFile], scratch: Path) -> None:
    """Permit the query to read the archive, and no other file."""
    paths = sql.SQL("[{}]").format(sql.SQL(", ").join(sql.Literal(str(file.path)) for file in files))
    queried.execute(SQL["set_utc"])
    queried.execute(duckdb_text(SQL["restrict"], paths=paths, scratch=sql.Literal(str(scratch))))
    queried.execute(SQL["create_schemas"])


def _is_pivot(queried: duckdb.DuckDBPyConnection, statement: str) -> bool:
    """Whether a statement is a PIVOT whose columns depend on the rows. Raises SettingsError unless it is one SELECT."""
    kinds = [found.type for found in queried.extract_statements(statement)]
    if not kinds:
        raise SettingsError("the query is empty: write a SELECT on `price`, such as `SELECT count(*) FROM price`")
    if len(kinds) != 1 or kinds[0] not in {duckdb.StatementType.SELECT, duckdb.StatementType.MULTI}:
        raise SettingsError(
            "a query is one SELECT: it reads `price` and the tables of the database, and changes nothing"
        )
    return kinds[0] == duckdb.StatementType.MULTI


def _mentioned(relations: Sequence[Relation], statement: str) -> list[Relation]:
    """The relations whose names the statement contains, and that of `price`; all where it lists relations.

    There are some hundred, and creating them all takes longer than many queries.
    """
    words = statement.lower()
    every = any(word in words for word in LISTING)
    return [one for one in relations if every or one.name == PRICES or one.name.split(".", 1)[1] in words]


def _create_relations(queried: duckdb.DuckDBPyConnection, relations: Sequence[Relation]) -> None:
    """Create all relations as empty tables, at once."""
    queried.execute(
        ";".join(
            duckdb_text(SQL["create_table"], target=one.identifier, columns=one.definitions()) for one in relations
        )
    )


def _create_price(
    queried: duckdb.DuckDBPyConnection, files: Sequence[ArchiveFile], doubled: Sequence[ArchiveFile]
) -> None:
    """Create the view `price` of the stored bars and the archived ones.

    One part for the files of each symbol, so that a condition on the symbol leaves files out; and one for each file in
    `doubled`, of whose month bars are stored, too.
    """
    parts: list[sql.Composable] = [sql.SQL(SQL["stored_bars"])]
    single = [file for file in files if file not in doubled]
    for number, (symbol, group) in enumerate(groupby(single, key=lambda file: file.symbol)):
        source = f"archive_{number}"
        queried.read_parquet([str(file.path) for file in group]).create_view(source)
        parts.append(composed(SQL["archived_bars"], symbol=sql.Literal(symbol), source=sql.Identifier(source)))
    for number, file in enumerate(doubled):
        source = f"archive_in_both_{number}"
        queried.read_parquet(str(file.path)).create_view(source)
        span = {"since": sql.Literal(file.since), "until": sql.Literal(file.until)}
        parts.append(
            composed(
                SQL["archived_bars_in_both"], symbol=sql.Literal(file.symbol), source=sql.Identifier(source), **span
            )
        )
    queried.execute(duckdb_text(SQL["create_price"], parts=sql.SQL(" UNION ALL ").join(parts)))


def _load(
    connection: Connection,
    queried: duckdb.DuckDBPyConnection,
    relations: Sequence[Relation],
    scans: Sequence[Scan],
    scratch: Path,
) -> None:
    """Replace the relations by views of their rows in PostgreSQL; what no scan reads fails if it is read."""
    for relation in relations:
        of_relation = [scan for scan in scans if scan.relation == relation.name]
        columns = frozenset[str]().union(*(scan.columns for scan in of_relation))
        source: sql.Composable = composed(SQL["unread_rows"], message=_unread(relation.name))
        if of_relation:
            load_relation(connection, queried, relation, of_relation, scratch)
            source = sql.Identifier("loaded", relation.name)
        selected = sql.SQL(", ").join(_selected(relation, name, loaded=name in columns) for name in relation.columns)
        target = relation.identifier
        queried.execute(duckdb_text(SQL["drop_table"], target=target))
        queried.execute(duckdb_text(SQL["create_view"], target=target, columns=selected, source=source))


def _unread(name: str) -> sql.Literal:
    return sql.Literal(f"{name} was not read: this is a defect of strikecast")


def _selected(relation: Relation, name: str, *, loaded: bool) -> sql.Composable:
    column = sql.Identifier(name)
    if loaded:
        return column
    message = _unread(f"{relation.name}.{name}")
    return composed(SQL["missing_column"], message=message, type=sql.SQL(relation.duckdb_type(name)), column=column)


def _scans(
    queried: duckdb.DuckDBPyConnection, statement: str, relations: Sequence[Relation], *, pivot: bool
) -> list[Scan]:
    """What the statement reads; of a PIVOT everything, because its plan does not show that."""
    if pivot:
        return [Scan(relation.name, frozenset(relation.columns)) for relation in relations]
    return read_scans(queried, statement, {relation.name: relation.columns for relation in relations})
