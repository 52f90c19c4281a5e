"""Validation that all policies share."""

from dataclasses import fields
from typing import Any


def require_positive(policy: Any) -> None:
    """Raise ValueError with the names of the fields of a policy that are not positive."""
    wrong = [field.name for field in fields(policy) if getattr(policy, field.name) <= 0]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} must be positive")
