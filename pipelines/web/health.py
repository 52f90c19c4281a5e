"""Whether the probabilities may be relied upon now, and if not, why."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pipelines.errors import DatabaseError
from pipelines.live.file_reader import Status, View, age_text
from pipelines.storage.live.health_queries import DatabaseHealth, SessionRecord

HEARTBEAT_LIMIT_SECONDS = 10.0


def health_report(views: Sequence[View], found: DatabaseHealth | DatabaseError, now: datetime) -> dict[str, Any]:
    """Every check with its figure; `healthy` only if all that must hold does.

    A symbol without a published generation is shown and not required; without the database nobody knows which have one.
    """
    problems = []
    if isinstance(found, DatabaseError):
        database: dict[str, Any] = {"ok": False, "error": str(found)}
        session: dict[str, Any] = {"ok": False, "reasons": ["not known"]}
        symbols = {view.symbol: _symbol(view, None, True) for view in views}
        problems.append(f"database: {found}")
    else:
        database = {"ok": True, "error": None}
        session = _session(found)
        published = found.generations
        symbols = {view.symbol: _symbol(view, published.get(view.symbol), view.symbol in published) for view in views}
        problems += [f"session: {reason}" for reason in session["reasons"]]
        if not published:
            problems.append("no symbol has a published generation: run `strikecast build`")
    for symbol, check in symbols.items():
        problems += [] if check["ok"] else [f"{symbol}: {reason}" for reason in check["reasons"]]
    return {
        "healthy": not problems,
        "at": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "problems": problems,
        "checks": {"database": database, "session": session, "symbols": symbols},
    }


def _session(found: DatabaseHealth) -> dict[str, Any]:
    record: SessionRecord | None = found.session
    if record is None:
        return {"ok": False, "reasons": ["no live session has run yet"], "lock_held": found.lock_is_held}
    age = round(record.heartbeat_age_seconds, 3)
    reasons = [] if found.lock_is_held else ["no live session runs: nobody holds its lock"]
    if age > HEARTBEAT_LIMIT_SECONDS:
        reasons.append(f"the last sign of life of session {record.session_id} is {age_text(age)} old")
    return {
        "ok": not reasons,
        "reasons": reasons,
        "lock_held": found.lock_is_held,
        "session_id": record.session_id,
        "status": record.status,
        "heartbeat_age_seconds": age,
        "cycles": record.cycles,
    }


def _symbol(view: View, generation: int | None, required: bool) -> dict[str, Any]:
    fine = view.status is Status.OK
    return {
        "ok": fine or not required,
        "required": required,
        "generation": generation,
        "status": str(view.status),
        "reasons": list(view.reasons) or ([] if fine else [f"status {view.status}"]),
        "file_age_seconds": _rounded(view.file_age_seconds),
        "price_age_seconds": _rounded(view.price_age_seconds),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
