"""How the strikes of a ladder are chosen."""

from enum import StrEnum


class StrikeChoice(StrEnum):
    """At equal distances, as hourly markets list them, or by the probability of each."""

    SPACING = "spacing"
    PROBABILITY = "probability"
