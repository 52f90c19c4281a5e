"""Rejected rows of recordings: counted by file and reason, with an example."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from pipelines.errors import printable

#: Columns of an example, and characters of it; those that are not the file's are left out.
EXAMPLE_COLUMNS = 6
EXAMPLE_LENGTH = 160
OWN_COLUMNS = frozenset({"row", "file", "order", "opens_at", "closes_at", "reason"})


@dataclass(frozen=True)
class Rejection:
    """Rows of a file that were not stored; `example`: the first of them."""

    file: str
    reason: str
    rows: int
    example: str


@dataclass
class Rejections:
    """Collects rejections."""

    found: list[Rejection] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rejected rows of all files."""
        return sum(one.rows for one in self.found)

    def split(self, frame: pl.DataFrame, file: str, reasons: Sequence[tuple[str, pl.Expr]]) -> pl.DataFrame:
        """The rows of a frame to which no reason applies; the others are counted under the first that does.

        `frame` has the column `row`. A condition that is null does not apply.
        """
        reason = pl.coalesce(*(pl.when(condition).then(pl.lit(text)) for text, condition in reasons))
        marked = frame.with_columns(reason.alias("reason"))
        rejected = marked.filter(pl.col("reason").is_not_null())
        for (text,), rows in rejected.group_by("reason", maintain_order=True):
            self.add(file, str(text), rows)
        return marked.filter(pl.col("reason").is_null()).drop("reason")

    def add(self, file: str, reason: str, rows: pl.DataFrame, example: str | None = None) -> None:
        """Count rows under a reason; `example`: by default the first of them."""
        if rows.is_empty():
            return
        for at, one in enumerate(self.found):
            if (one.file, one.reason) == (file, reason):
                self.found[at] = replace(one, rows=one.rows + len(rows))
                return
        if example is None:
            first = rows.row(0, named=True)
            given = {name: value for name, value in first.items() if name not in OWN_COLUMNS and value is not None}
            values = [f"{name} {value}" for name, value in given.items()]
            example = f"row {first['row']}: {', '.join(values[:EXAMPLE_COLUMNS])}"
        self.found.append(Rejection(file, reason, len(rows), printable(example, EXAMPLE_LENGTH)))
