"""Named SQL statements, in one file for each repository, with the name of its module.

Each statement begins with a line `-- name: NAME`. The files belong to the program, so their text is as trusted as a
literal.
"""

import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, LiteralString, TypeVar

from psycopg.abc import Params
from psycopg.rows import class_row, scalar_row
from psycopg.sql import Composed

if TYPE_CHECKING:  # connections have statements of their own
    from pipelines.storage.postgres.connection import Connection

Row = TypeVar("Row")
_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


class Statements:
    """The statements of `{module}.sql` by name; the file is read on first use.

    >>> Statements("pipelines.storage.models.champions")["champion"].split()[0]
    'SELECT'
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def __getitem__(self, name: str) -> LiteralString:
        """The text of a statement. Raises KeyError for an unknown name."""
        return _read(self._module)[name]

    @property
    def names(self) -> list[str]:
        """Names of all statements, in the order of the file."""
        return list(_read(self._module))


@cache
def _read(module: str) -> dict[str, LiteralString]:
    package, _, stem = module.rpartition(".")
    text = resources.files(package).joinpath(f"{stem}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    return {name: statement.strip() for name, statement in zip(parts[::2], parts[1::2], strict=True)}


def read_rows(
    connection: "Connection", kind: type[Row], statement: LiteralString, parameters: Params | None = None
) -> list[Row]:
    """Rows of a statement as instances of `kind`, whose fields have the names of the columns."""
    with connection.cursor(row_factory=class_row(kind)) as cursor:
        return cursor.execute(statement, parameters).fetchall()


def read_value(connection: "Connection", statement: LiteralString | Composed, parameters: Params | None = None) -> Any:
    """The first column of a statement's first row; None without rows."""
    with connection.cursor(row_factory=scalar_row) as cursor:
        return cursor.execute(statement, parameters).fetchone()
