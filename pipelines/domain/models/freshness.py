"""Freshness of a probability file: the one judgement behind its status, `/health`, the alerts and the audit's target.

A strike table is judged in the same way; its quotes by themselves, since the probabilities do not depend on them.

All limits on ages of files and prices are in this module. An alert follows the same judgement, only later:
`[alerts] stale_seconds`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

#: A file is stale when it or its price is older than this, or is dated ahead of the reader's clock by more.
STALE_AFTER_SECONDS = 2.0
#: A session writes each second. After five seconds without a write it has ended, hangs, or cannot write.
UNWRITTEN_AFTER_SECONDS = 5.0
#: Default of `[alerts] stale_seconds`: a hand-over or a restart takes less.
ALERT_AFTER_SECONDS = 60.0
#: A session sends its heartbeat each second. An older one means that the session or its machine hangs.
HEARTBEAT_LIMIT_SECONDS = 10.0
#: Default of `[alerts] quotes_seconds`: a market feed that repeats its requests has recovered from most failures.
QUOTES_ALERT_AFTER_SECONDS = 300.0
#: Default of `[alerts] event_seconds`: the exchange lists the next event of a series before one closes.
EVENT_ALERT_AFTER_SECONDS = 7_200.0
#: First words of `market_status` in a strike table: of one whose feed fails, and of one without an event.
UNAVAILABLE = "unavailable"
NO_EVENT = "no event"


class Status(StrEnum):
    """The status of a file."""

    OK = "ok"
    REPLAY = "replay"
    DEGRADED = "degraded"
    STALE = "stale"
    UNWRITTEN = "not written"
    MISSING = "missing"
    UNREADABLE = "unreadable"


class Cause(StrEnum):
    """Why a file is not fresh."""

    SESSION = "session"
    PRICES = "prices"
    STORAGE = "storage"
    CLOCK = "clock"


@dataclass(frozen=True)
class FileState:
    """A symbol's file as it was read: its ages by the reader's clock, and its own status and reasons.

    `error`: MISSING or UNREADABLE, with the reason in `reasons`; the other fields are then not known.
    `price_age_seconds`: None for a file without a price, which is refreshed until there is one.
    """

    symbol: str
    error: Status | None = None
    file_age_seconds: float | None = None
    price_age_seconds: float | None = None
    written_status: str = Status.OK
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableState:
    """A strike table as it was read: its file and its `market_status`, None without a readable file."""

    series: str
    file: FileState
    market_status: str | None = None


@dataclass(frozen=True)
class SessionState:
    """The newest live session by its record in the database, whose clock the heartbeat's age is by.

    `session_id`: None before the first session; `lock_is_held`: whether any session holds the session lock;
    `write_failure`: why the running session cannot write its files.
    """

    lock_is_held: bool
    session_id: int | None = None
    status: str | None = None
    feed: str | None = None
    cycles: int = 0
    heartbeat_age_seconds: float | None = None
    write_failure: str | None = None
    ended_because: str | None = None

    @property
    def problem(self) -> tuple[Cause, str] | None:
        """Why no session can refresh the files; None while one does."""
        if self.session_id is None:
            return Cause.SESSION, "no live session has run yet"
        if not self.lock_is_held:
            ended = f": session {self.session_id} ended: {self.ended_because}" if self.ended_because else ""
            return Cause.SESSION, f"no live session is running{ended}"
        age = self.heartbeat_age_seconds
        if age is not None and age > HEARTBEAT_LIMIT_SECONDS:
            return Cause.SESSION, f"the last heartbeat of session {self.session_id} is {age_text(age)} old"
        if self.write_failure is not None:
            return Cause.STORAGE, f"session {self.session_id} runs but cannot write: {self.write_failure}"
        return None


@dataclass(frozen=True)
class Freshness:
    """The judgement of a file. `reasons`: every problem with it.

    `cause`: None when it is fresh (`ok`, `replay`, `degraded`). `age_seconds`: the age of the older of file and price,
    at least STALE_AFTER_SECONDS unless fresh; None when not known.
    """

    symbol: str
    status: Status
    reasons: tuple[str, ...]
    cause: Cause | None
    age_seconds: float | None

    def is_overdue(self, limit_seconds: float) -> bool:
        """Whether an alert is due: it is not fresh, and has been so for the limit or for an unknown time."""
        return self.cause is not None and (self.age_seconds is None or self.age_seconds >= limit_seconds)


@dataclass(frozen=True)
class TableFreshness:
    """The judgement of a strike table: that of its file, and why its quotes are unavailable.

    `unavailable`: None while there are quotes, while the exchange offers none, and where the file does not say.
    `without_event`: what the exchange answers while it lists no event, or none with markets; None otherwise.
    """

    series: str
    file: Freshness
    unavailable: str | None = None
    without_event: str | None = None

    @property
    def title(self) -> str:
        """Symbol and series."""
        return f"{self.file.symbol} {self.series}"

    @property
    def is_written(self) -> bool:
        """Whether a session refreshes the file; its prices are judged by the probability file."""
        return self.file.cause in (None, Cause.PRICES)


def judge_table(table: TableState, session: SessionState | None = None) -> TableFreshness:
    """Judge a strike table, as `judge` does a file."""
    freshness = judge(table.file, session)
    word, _, reason = (table.market_status or "").partition(": ")
    known = TableFreshness(table.series, freshness)
    if not known.is_written:
        return known
    if word == NO_EVENT:
        return replace(known, without_event=reason or f"the exchange lists no event of {table.series}")
    if word == UNAVAILABLE:
        return replace(known, unavailable=reason or "the reason is not known")
    return known


def judge(file: FileState, session: SessionState | None = None) -> Freshness:
    """Judge a file. The session, if known, explains the status and does not change it."""
    file_age, price_age = file.file_age_seconds, file.price_age_seconds
    if file.error is not None or file_age is None:
        because, why = _why_unwritten(session)
        return Freshness(file.symbol, file.error or Status.UNREADABLE, (*file.reasons, *why), because, None)
    age = None if price_age is None else max(0.0, file_age, price_age)
    status, why, cause = _problem_with_ages(file_age, price_age, file, session)
    if cause is Cause.CLOCK:
        age = None
    elif cause is None and price_age is None:
        status, cause = Status.STALE, Cause.PRICES
    elif cause is None and file.written_status == Status.STALE:
        status, why, cause, age = Status.STALE, ("its session will not refresh it",), Cause.SESSION, STALE_AFTER_SECONDS
        return Freshness(file.symbol, status, (*file.reasons, *why), cause, age)
    return Freshness(file.symbol, status, (*why, *file.reasons), cause, age)


def _problem_with_ages(
    file_age: float, price_age: float | None, file: FileState, session: SessionState | None
) -> tuple[Status, tuple[str, ...], Cause | None]:
    """Status, reasons and cause by the ages alone; without a problem, the status in the file."""
    if file_age > UNWRITTEN_AFTER_SECONDS:
        cause, why = _why_unwritten(session)
        return Status.UNWRITTEN, (f"the file is not being written: it is {age_text(file_age)} old", *why), cause
    feed = "" if session is None or session.feed is None else f" (feed {session.feed})"
    ages = [("file", file_age, ""), *([] if price_age is None else [("price", price_age, feed)])]
    ahead = [
        f"the {name} is {age_text(-seconds)} ahead of this clock: its age is not known"
        for name, seconds, _ in ages
        if seconds < -STALE_AFTER_SECONDS
    ]
    old = [f"the {name} is {age_text(seconds)} old{of}" for name, seconds, of in ages if seconds > STALE_AFTER_SECONDS]
    if ahead:
        return Status.STALE, (*old, *ahead), Cause.CLOCK
    if old:
        is_file = file_age > STALE_AFTER_SECONDS
        return Status.STALE, tuple(old), _why_unwritten(session)[0] if is_file else Cause.PRICES
    is_known = file.written_status in (Status.OK, Status.REPLAY)
    return Status(file.written_status) if is_known else Status.DEGRADED, (), None


def written_status(price_age_seconds: float, problems: Sequence[str], *, last: bool, replayed: bool = False) -> Status:
    """The status that a session writes into a file with a price of this age, with `last` into its last one.

    "stale" takes precedence over "replay", which takes precedence over "degraded".
    """
    written = Status.STALE if last else Status.REPLAY if replayed else Status.DEGRADED if problems else Status.OK
    return judge(FileState("", None, 0.0, max(0.0, price_age_seconds), written)).status


def _why_unwritten(session: SessionState | None) -> tuple[Cause, tuple[str, ...]]:
    """Why nothing writes a file that is old or missing, as far as the session's record shows."""
    if session is None:
        return Cause.SESSION, ()
    if session.problem is not None:
        cause, why = session.problem
        return cause, (why,)
    return Cause.SESSION, (f"session {session.session_id} runs but does not refresh it",)


def age_text(seconds: float) -> str:
    """An age in its largest sensible unit.

    >>> age_text(0.44), age_text(65), age_text(600), age_text(30_000), age_text(400_000)
    ('0.4 s', '65 s', '10 min', '8 h', '5 d')
    """
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    for limit, unit, name in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if seconds < limit:
            return f"{round(seconds / unit)} {name}"
    return f"{round(seconds / 86_400)} d"
