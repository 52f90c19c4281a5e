"""Tables that show every cell whole, so that names and numbers can be copied and compared."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from textwrap import fill

from rich import box
from rich.bar import Bar
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from pipelines.errors import escaped

#: Width of what is not a terminal: nothing is wrapped there.
UNLIMITED = 10_000
#: Wrapped text is at least this wide, or as wide as its longest word.
MIN_PROSE_WIDTH = 16


@dataclass(frozen=True)
class WholeTable:
    """Rows under headings. Where the console is too narrow for them, each row is a block of one field per line.

    Columns in `numbers` are right-aligned; those in `prose` wrap between words, and no other column wraps. A cell is
    a value (None is empty), a Text, or a picture such as a bar, which the blocks omit.
    """

    names: Sequence[str]
    rows: Iterable[Sequence[object]]
    title: str | None = None
    numbers: Collection[str] = ()
    prose: Collection[str] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[RenderableType]:
        """The title, then the rows side by side or as blocks."""
        rows = [[_cell(cell) for cell in row] for row in self.rows]
        table = self._table(rows)
        if self.title is not None:
            yield _line(self.title, "bold")
        if Measurement.get(console, options.update_width(UNLIMITED), table).minimum <= options.max_width:
            yield table
        else:
            yield from self._blocks(rows, options.max_width)

    def _table(self, rows: Sequence[Sequence[RenderableType]]) -> Table:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
        for column, name in enumerate(self.names):
            texts = [name, *(cell.plain for row in rows if isinstance(cell := row[column], Text))]
            longest = max(cell_len(line) for text in texts for line in text.split("\n"))
            if name in self.prose:
                words = max((cell_len(word) for text in texts for word in text.split()), default=0)
                longest = min(longest, max(words, MIN_PROSE_WIDTH))
            table.add_column(
                Text(name),
                justify="right" if name in self.numbers else "left",
                no_wrap=name not in self.prose,
                min_width=longest,
            )
        for row in rows:
            table.add_row(*row)
        return table

    def _blocks(self, rows: Sequence[Sequence[RenderableType]], width: int) -> Iterable[RenderableType]:
        margin = max(cell_len(name) for name in self.names) + 2
        for number, row in enumerate(rows):
            if number:
                yield Text()
            for name, cell in zip(self.names, row, strict=True):
                if not isinstance(cell, Text):
                    continue
                lines = cell.plain.split("\n")
                if name in self.prose:
                    room = max(MIN_PROSE_WIDTH, width - margin)
                    lines = [fill(one, room, break_long_words=False, break_on_hyphens=False) for one in lines]
                value = "\n".join(lines).replace("\n", "\n" + " " * margin)
                yield _line(f"{name:{margin}}").append(value, cell.style)


def _cell(value: object) -> RenderableType:
    if value is None:
        return Text()
    if isinstance(value, Text | Bar):
        return value
    return Text("\n".join(escaped(line) for line in str(value).split("\n")))


def _line(text: str, style: str = "") -> Text:
    """A text that rich neither wraps nor cuts."""
    return Text(text, style, no_wrap=True, overflow="ignore")
