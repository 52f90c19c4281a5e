"""The health report: whether the probabilities can be relied upon, and if not, why."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pipelines.domain.models.freshness import SessionState, Status, judge
from pipelines.domain.models.ladder import iso
from pipelines.errors import DatabaseError
from pipelines.live.probability_reader import View
from pipelines.storage.live.health_queries import DatabaseHealth


def health_report(views: Sequence[View], database: DatabaseHealth | DatabaseError, now: datetime) -> dict[str, Any]:
    """All checks with their measurements at `now` (aware UTC); `healthy` if there are no problems.

    A symbol without a published generation is reported but not required. When the database is unavailable, all symbols
    are required.
    """
    problems = []
    if isinstance(database, DatabaseError):
        database_check: dict[str, Any] = {"ok": False, "error": str(database)}
        session_check: dict[str, Any] = {"ok": False, "reasons": ["not known"]}
        symbol_checks = {view.symbol: _symbol_check(view, None, None, required=True) for view in views}
        problems.append(f"database: {database}")
    else:
        database_check = {"ok": True, "error": None}
        session_check = _session_check(database.session)
        generations = database.generations
        symbol_checks = {
            view.symbol: _symbol_check(
                view, database.session, generations.get(view.symbol), required=view.symbol in generations
            )
            for view in views
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
        "notices": [f"{view.symbol}: {view.notice}" for view in views if view.notice is not None],
        "checks": {"database": database_check, "session": session_check, "symbols": symbol_checks},
    }


def _session_check(session: SessionState) -> dict[str, Any]:
    reasons = [] if session.problem is None else [session.problem[1]]
    check = {"ok": not reasons, "reasons": reasons, "lock_held": session.lock_is_held}
    if session.session_id is None:
        return check
    return check | {
        "session_id": session.session_id,
        "status": session.status,
        "heartbeat_age_seconds": _rounded(session.heartbeat_age_seconds),
        "cycles": session.cycles,
    }


def _symbol_check(
    view: View, session: SessionState | None, generation: int | None, *, required: bool
) -> dict[str, Any]:
    freshness = judge(view.file, session)
    is_ok = freshness.status is Status.OK or (freshness.status is Status.REPLAY and not freshness.reasons)
    return {
        "ok": is_ok or not required,
        "required": required,
        "generation": generation,
        "status": str(freshness.status),
        "notice": view.notice,
        "reasons": list(freshness.reasons) or ([] if is_ok else [f"status {freshness.status}"]),
        "file_age_seconds": _rounded(view.file_age_seconds),
        "price_age_seconds": _rounded(view.price_age_seconds),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
