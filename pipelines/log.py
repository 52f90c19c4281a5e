"""The type of a function that takes one line for the operator: progress, or a failure that is tried again."""

from collections.abc import Callable

Log = Callable[[str], None]
