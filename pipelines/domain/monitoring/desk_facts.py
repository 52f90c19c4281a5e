"""What of the paper desk an operator has to know: limits, positions without settlement, failed saves and checks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from pipelines.domain.models.freshness import age_text

#: The desk saves each minute; two may fail.
UNSAVED_AFTER = timedelta(minutes=3)
#: Results are final within minutes; a dispute takes longer.
STRANDED_AFTER = timedelta(hours=1)


class DeskFinding(NamedTuple):
    """A problem of the desk; `after`: for how long it must have lasted, None for one that does not end by itself."""

    key: str
    message: str
    after: timedelta | None = None


@dataclass(frozen=True)
class DeskFacts:
    """A campaign as it was saved last, at `saved_at` (aware UTC; None before the first save).

    `is_due`: a live session runs that is to trade for it. `stopped`: why an operator stopped it, None when none did.
    `breaches`: exceeded limits in words, by name. `stranded`: positions past their close by more than STRANDED_AFTER.
    `failed_checks`: why the newest evaluation of a check failed, by its name.
    """

    campaign: str
    is_due: bool
    saved_at: datetime | None = None
    stopped: str | None = None
    breaches: Mapping[str, str] | None = None
    stranded: Sequence[str] = ()
    failed_checks: Mapping[str, str] = field(default_factory=dict)

    def is_saved(self, now: datetime) -> bool:
        """Whether the desk has saved its state lately, as one that runs does each minute, at `now` (aware UTC)."""
        return self.saved_at is not None and now - self.saved_at <= UNSAVED_AFTER

    def findings(self, now: datetime) -> Iterator[DeskFinding]:
        """The desk's problems at `now` (aware UTC)."""
        name = f"desk {self.campaign}"
        if self.is_due and not self.is_saved(now):
            last = "never" if self.saved_at is None else f"{age_text((now - self.saved_at).total_seconds())} ago"
            message = f"the paper desk is not saved (last: {last}), so it does not trade"
            yield DeskFinding(f"{name} save", message, timedelta(0) if self.saved_at else UNSAVED_AFTER)
        if self.stopped is not None:
            yield DeskFinding(f"{name} stopped", f"the paper desk was stopped: {self.stopped}")
        for limit, words in (self.breaches or {}).items():
            yield DeskFinding(f"{name} limit {limit}", f"the paper desk enters no trades past its limit: {words}")
        if self.stranded:
            count, listed = len(self.stranded), ", ".join(self.stranded)
            message = f"{count} position{'s' if count > 1 else ''} past the close without a result: {listed}"
            yield DeskFinding(f"{name} positions", message)
        for check, reason in self.failed_checks.items():
            yield DeskFinding(f"{name} check {check}", f"the check {check} failed: {reason}")
