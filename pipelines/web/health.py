"""The health report: whether the probabilities can be relied upon, and if not, why."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pipelines.errors import DatabaseError
from pipelines.live.probability_reader import Status, View, age_text, iso
from pipelines.storage.live.health_queries import DatabaseHealth

HEARTBEAT_LIMIT_SECONDS = 10.0


def health_report(views: Sequence[View], database: DatabaseHealth | DatabaseError, now: datetime) -> dict[str, Any]:
    """All checks with their measurements at `now` (aware UTC); `healthy` if there are no problems.

    A symbol without a published generation is reported but not required. When the database is unavailable, all symbols
    are required.
    """
    problems = []
    if isinstance(database, DatabaseError):
        database_check: dict[str, Any] = {"ok": False, "error": str(database)}
        session_check: dict[str, Any] = {"ok": False, "reasons": ["not known"]}
        symbol_checks = {view.symbol: _symbol_check(view, None, True) for view in views}
        problems.append(f"database: {database}")
    else:
        database_check = {"ok": True, "error": None}
        session_check = _session_check(database)
        generations = database.generations
        symbol_checks = {
            view.symbol: _symbol_check(view, generations.get(view.symbol), view.symbol in generations) for view in views
        }
        problems += [f"session: {reason}" for reason in session_check["reasons"]]
        if not generations:
            problems.append("no symbol has a published generation: run `strikecast build`")
    for symbol, check in symbol_checks.items():
        if not check["ok"]:
            problems += [f"{symbol}: {reason}" for reason in check["reasons"]]
    return {
        "healthy": not problems,
        "at": iso(now),
        "problems": problems,
        "checks": {"database": database_check, "session": session_check, "symbols": symbol_checks},
    }


def _session_check(database: DatabaseHealth) -> dict[str, Any]:
    session = database.session
    if session is None:
        return {"ok": False, "reasons": ["no live session has run yet"], "lock_held": database.lock_is_held}
    age = round(session.heartbeat_age_seconds, 3)
    reasons = [] if database.lock_is_held else ["no live session is running"]
    if age > HEARTBEAT_LIMIT_SECONDS:
        reasons.append(f"the last heartbeat of session {session.session_id} is {age_text(age)} old")
    return {
        "ok": not reasons,
        "reasons": reasons,
        "lock_held": database.lock_is_held,
        "session_id": session.session_id,
        "status": session.status,
        "heartbeat_age_seconds": age,
        "cycles": session.cycles,
    }


def _symbol_check(view: View, generation: int | None, required: bool) -> dict[str, Any]:
    is_ok = view.status is Status.OK
    return {
        "ok": is_ok or not required,
        "required": required,
        "generation": generation,
        "status": str(view.status),
        "reasons": list(view.reasons) or ([] if is_ok else [f"status {view.status}"]),
        "file_age_seconds": _rounded(view.file_age_seconds),
        "price_age_seconds": _rounded(view.price_age_seconds),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
