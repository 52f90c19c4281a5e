"""The paper desk as the alerts see it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from pipelines.domain.desk.limits import lasting
from pipelines.domain.desk.state import stranded
from pipelines.domain.models.freshness import SessionState
from pipelines.domain.monitoring.desk_facts import STRANDED_AFTER, DeskFacts
from pipelines.settings import Settings
from pipelines.storage.desk.reads import read_stranded_elsewhere
from pipelines.storage.desk.store import SavedState, read_saved
from pipelines.storage.desk.switch import read_switch
from pipelines.storage.postgres.connection import Connection


def read_desk(
    settings: Settings, connection: Connection, session: SessionState, now: datetime, failed_checks: Mapping[str, str]
) -> DeskFacts | None:
    """The configured campaign at `now` (aware UTC), with the stranded positions of all others, and failed checks.

    None for a campaign that never traded and is not to, when no other has such positions and no check failed.
    """
    is_enabled, campaign = settings.desk_is_enabled, settings.desk_campaign
    saved = read_saved(connection, campaign)
    facts = read_facts(connection, campaign, saved, session, now, is_enabled=is_enabled)
    others = read_stranded_elsewhere(connection, campaign, now - STRANDED_AFTER)
    if not (is_enabled or facts.saved_at is not None or others or failed_checks):
        return None
    listed = [f"{ticker} {side} (campaign {name})" for name, ticker, side in others]
    return replace(facts, stranded=[*facts.stranded, *listed], failed_checks=failed_checks)


def read_facts(
    connection: Connection,
    campaign: str,
    saved: SavedState | None,
    session: SessionState,
    now: datetime,
    *,
    is_enabled: bool,
) -> DeskFacts:
    """A campaign at `now` (aware UTC), as it was saved last. `is_enabled`: a live session is to trade for it."""
    is_due = is_enabled and session.problem is None
    if saved is None:
        return DeskFacts(campaign, is_due)
    switch = read_switch(connection, campaign)
    return DeskFacts(
        campaign,
        is_due,
        saved.saved_at,
        switch.reason if switch is not None and switch.stopped else None,
        lasting(saved.state, now) if is_enabled else {},
        [f"{trade.ticker} {trade.side}" for trade in stranded(saved.state.trades(), now, STRANDED_AFTER)],
    )
