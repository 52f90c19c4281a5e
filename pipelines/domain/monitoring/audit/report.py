"""One audit as a whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

from pipelines.domain.monitoring.audit.findings import Finding, Scorecard, score
from pipelines.domain.monitoring.audit.measurements import Gap, Measurement
from pipelines.domain.monitoring.audit.targets import Judgement


class Kind(StrEnum):
    """How much an audit measures."""

    QUICK = "quick"
    FULL = "full"


@dataclass(frozen=True)
class Audit:
    """What was measured, and what follows; times in UTC; `cpu_seconds` of the audit's own process."""

    kind: Kind
    started_at: datetime
    finished_at: datetime
    code_version: str
    server_version: str
    machine: Mapping[str, Any]
    cpu_seconds: float
    measurements: tuple[Measurement, ...]
    gaps: tuple[Gap, ...]
    judgements: tuple[Judgement, ...]
    findings: tuple[Finding, ...]
    audit_id: int | None = None

    @cached_property
    def scorecard(self) -> Scorecard:
        """Points by area, from the findings."""
        return score(self.findings, self.judgements)
