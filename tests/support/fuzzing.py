"""Property tests of hostile input: how many examples, and what every input must come to.

The default tier tries few inputs, the tier `soak` many; FUZZ multiplies both.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import HealthCheck, settings

from pipelines.errors import MAX_MESSAGE, StrikecastError

#: CPU time for one input; wall-clock time would measure the machine's other work.
MOST_SECONDS = 10.0


def examples(few: int, many: int) -> settings:
    """Settings of a property: `few` examples, `many` in the tier `soak`."""
    count = many if os.environ.get("SOAK") == "1" else few
    return settings(
        max_examples=int(count * float(os.environ.get("FUZZ", "1"))),
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


class Outcome:
    """`refusal`: the message of the error of ours that an input raised, None when it was accepted."""

    refusal: str | None = None


@contextmanager
def accepted_or_refused() -> Iterator[Outcome]:
    """Take one input: it is accepted, or refused by an error of ours with one printable line; soon, in both cases."""
    outcome, began = Outcome(), time.process_time()
    try:
        yield outcome
    except StrikecastError as error:
        outcome.refusal = str(error)
        assert outcome.refusal.isprintable()
        assert 0 < len(outcome.refusal) <= MAX_MESSAGE
    assert time.process_time() - began < MOST_SECONDS
