"""Output in a locale that is not UTF-8: readable replacements for characters that it lacks."""

import codecs
import io
import sys

REPLACED = "strikecast.replaced"
#: Of box drawing; a corner or a crossing is `+`.
_LINES = {"─": "-", "━": "-", "═": "-", "╌": "-", "│": "|", "┃": "|", "║": "|"}
_BOX_DRAWING, _BLOCKS = range(0x2500, 0x2580), range(0x2580, 0x25A0)


def replacement(character: str) -> str:
    r"""What stands for a character: a line, a bar, or its escape.

    >>> "".join(map(replacement, "┌─│█▌é"))
    '+-|##\\xe9'
    """
    if ord(character) in _BOX_DRAWING:
        return _LINES.get(character, "+")
    if ord(character) in _BLOCKS:
        return "#"
    return character.encode("ascii", "backslashreplace").decode("ascii")


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(replacement, error.object[error.start : error.end])), error.end


def replace_unencodable() -> None:
    """Let standard output and standard error write replacements instead of raising UnicodeEncodeError."""
    codecs.register_error(REPLACED, _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=REPLACED)
