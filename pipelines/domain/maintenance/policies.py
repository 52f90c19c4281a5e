"""What all policies share."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

#: A hundred years, by the last word of a field's name: longer ages reach back to before the first date.
MOST = {"days": 36_525, "daily": 36_525, "weekly": 5_218, "monthly": 1_200, "months": 1_200, "hours": 876_600}


def require_dates(policy: Any) -> None:
    """Raise ValueError with the names of a dataclass's fields that are more than a hundred years."""
    limits = {field.name: MOST.get(field.name.rpartition("_")[2]) for field in fields(policy)}
    wrong = [name for name, most in limits.items() if most is not None and getattr(policy, name) > most]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} must be less than a hundred years")


def limit_of(policy: type, name: str) -> str:
    """Permitted values of a field of a policy in words; empty for any other class.

    >>> limit_of(Policy, "session_days")
    'more than 0, at most 36,525'
    """
    least: Mapping[str, int] = getattr(policy, "LEAST", {})
    if not issubclass(policy, Policy) and name not in least:
        return ""
    lower = f"{least[name]} or more" if name in least else "more than 0"
    most = MOST.get(name.rpartition("_")[2])
    return lower if most is None else f"{lower}, at most {most:,}"


@dataclass(frozen=True)
class Policy:
    """Settings of a maintenance job.

    Raises ValueError with the names of the fields that are not positive, or more than a hundred years.
    """

    #: Unknown settings are an error.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        wrong = [field.name for field in fields(self) if getattr(self, field.name) <= 0]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} must be positive")
        require_dates(self)
