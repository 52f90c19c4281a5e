"""Failures of one symbol, which the session reports and retries."""

from pipelines.errors import NoDataError, place_of
from pipelines.storage.postgres.connection import DriverError, full_message

#: Expected failures. The log has the place of any other.
FAILURES = (DriverError, OSError, ValueError, KeyError, ArithmeticError, NoDataError)


def describe(error: Exception) -> tuple[str, str]:
    """Description of a failure, and the same with its place if it is unexpected."""
    failure = f"{type(error).__name__}: {full_message(error)}"
    return failure, failure if isinstance(error, FAILURES) else f"{failure} ({place_of(error)})"
