"""What policies have in common."""

from dataclasses import fields
from typing import Any


def require_one_or_more(policy: Any) -> None:
    """Raise ValueError that names every field of a policy that is less than 1."""
    wrong = [field.name for field in fields(policy) if getattr(policy, field.name) < 1]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} must be 1 or more")
