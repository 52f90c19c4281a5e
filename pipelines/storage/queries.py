"""SQL in files, one statement each."""

from functools import cache
from importlib import resources
from typing import LiteralString


@cache
def query(name: str) -> LiteralString:
    """Text of `storage/sql/{name}.sql`; it is part of the program, hence as trusted as a literal."""
    return resources.files("pipelines.storage").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
