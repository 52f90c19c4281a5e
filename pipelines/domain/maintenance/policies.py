"""What all policies share."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar


@dataclass(frozen=True)
class Policy:
    """Settings of a maintenance job. Raises ValueError with the names of the fields that are not positive."""

    #: Unknown settings are an error.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        wrong = [field.name for field in fields(self) if getattr(self, field.name) <= 0]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} must be positive")
