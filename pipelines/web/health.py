"""The health report: whether the probabilities can be relied upon, and if not, why."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pipelines.domain.models.freshness import SessionState, Status, TableFreshness, judge
from pipelines.domain.models.ladder import iso
from pipelines.errors import DatabaseError
from pipelines.live.probability_reader import View
from pipelines.live.strike_table_reader import TableView
from pipelines.storage.live.health_queries import DatabaseHealth
from pipelines.storage.postgres.reading import ReadReport


def health_report(
    views: Sequence[View],
    database: DatabaseHealth | DatabaseError,
    now: datetime,
    tables: Sequence[TableView] = (),
    replica: ReadReport | None = None,
) -> dict[str, Any]:
    """All checks with their measurements at `now` (aware UTC); `healthy` if there are no problems.

    A symbol without a published generation is reported but not required. When the database is unavailable, all symbols
    are required. A strike table that is not refreshed any more is a problem, as a probability file is; one that was
    never written, or has no quotes, is a warning: the probabilities do not depend on it. So is a replica that cannot be
    read from.
    """
    problems = []
    session = None if isinstance(database, DatabaseError) else database.session
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
    judged = [(table, table.judge(session)) for table in tables]
    table_checks = {one.title: _table_check(table, one) for table, one in judged}
    for title, check in table_checks.items():
        if not check["ok"] and symbol_checks.get(check["symbol"], {}).get("required"):
            problems += [f"strike table of {title}: {reason}" for reason in check["reasons"]]
    return {
        "healthy": not problems,
        "at": iso(now),
        "problems": problems,
        "warnings": [
            *(warning for table, one in judged for warning in _warnings(table, one)),
            *([] if replica is None or replica.problem is None else [f"replica: {replica.problem}"]),
        ],
        "notices": [f"{view.symbol}: {view.notice}" for view in views if view.notice is not None],
        "checks": {
            "database": database_check,
            "session": session_check,
            "symbols": symbol_checks,
            "strike_tables": table_checks,
            **({} if replica is None else {"replica": replica.facts}),
        },
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


def _table_check(table: TableView, judged: TableFreshness) -> dict[str, Any]:
    return {
        "ok": judged.is_written or judged.file.status is Status.MISSING,
        "symbol": judged.file.symbol,
        "status": str(judged.file.status),
        "market_status": table.state.market_status,
        "reasons": list(judged.file.reasons),
        "file_age_seconds": _rounded(table.file.file_age_seconds),
    }


def _warnings(table: TableView, judged: TableFreshness) -> Sequence[str]:
    """What is missing of a strike table although the session works."""
    if judged.file.status is Status.MISSING:
        return table.file.reasons
    return [] if judged.unavailable is None else [f"quotes of {judged.title} are unavailable: {judged.unavailable}"]


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
