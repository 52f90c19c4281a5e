"""The database: what the server's own statistics tell of its tables, indexes, settings and statements."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from pipelines.domain.monitoring.audit import database as tables_of
from pipelines.domain.monitoring.audit import server as server_of
from pipelines.domain.monitoring.audit.findings import Found
from pipelines.domain.monitoring.audit.measurements import Figure, Gap, Measured
from pipelines.monitoring.audit.host import memory_total
from pipelines.monitoring.audit.processes import NOT_SEEN, is_local
from pipelines.storage.monitoring.audits import counts_before
from pipelines.storage.monitoring.server_statistics import (
    read_checkpoints,
    read_indexes,
    read_server,
    read_settings,
    read_standbys,
    read_statements_extension,
    read_tables,
    read_top_statements,
)
from pipelines.storage.postgres.connection import Connection

#: Growth is that since the oldest audit of so many days.
GROWTH_DAYS = 7


def tables(connection: Connection, now: datetime) -> Found:
    """Sizes, rows, dead rows, bloat and growth of tables; indexes that nobody needs."""
    facts, server = read_tables(connection), read_server(connection)
    since = now - timedelta(days=GROWTH_DAYS)
    figures = tables_of.table_figures(facts)
    growth = tables_of.growth_figures(facts, counts_before(connection, "table_rows", since), now)
    gaps = () if growth else (Gap("growth of tables", "there is no audit of an hour ago or more to compare with"),)
    findings = [
        *tables_of.table_findings(facts),
        *tables_of.scan_findings(
            facts,
            counts_before(connection, "table_sequential_scans", since),
            counts_before(connection, "table_rows_read_sequentially", since),
            now,
        ),
        *tables_of.index_findings(read_indexes(connection), server, now),
    ]
    return Measured(figures + growth, gaps), findings


def server(connection: Connection) -> Found:
    """The server as a whole: its work, checkpoints, standbys, settings."""
    facts, checkpoints, standbys = read_server(connection), read_checkpoints(connection), read_standbys(connection)
    gaps = []
    if facts.hidden:
        gaps.append(Gap("work of other connections", f"insufficient privilege for {facts.hidden} of them"))
    local = is_local(connection)
    if not local:
        gaps.append(Gap("settings beside the server's memory", NOT_SEEN))
    findings = [
        *server_of.server_findings(facts),
        *server_of.checkpoint_findings(checkpoints),
        *server_of.standby_findings(standbys),
        *server_of.settings_findings(
            read_settings(connection), facts.database_bytes, memory_total() if local else None
        ),
    ]
    figures = (
        *server_of.server_figures(facts),
        *server_of.checkpoint_figures(checkpoints),
    )
    return Measured(figures, tuple(gaps)) + server_of.standbys_measured(standbys), findings


def statements(connection: Connection) -> Found:
    """What took the server's time by its own count, where it counts."""
    extension = read_statements_extension(connection)
    findings = server_of.extension_findings(
        available=extension.available, loaded=extension.loaded, created=extension.schema is not None
    )
    if not extension.loaded or extension.schema is None:
        why = "the server does not have the extension" if not extension.available else "the extension is not in use"
        gap = Gap("pg_stat_statements", f"{why}: the hot queries are timed by the audit itself")
        return Measured((), (gap,)), findings
    figures: Sequence[Figure] = server_of.statement_figures(read_top_statements(connection, extension.schema))
    gaps = () if figures else (Gap("pg_stat_statements", "insufficient privilege to see anybody's statements"),)
    return Measured(tuple(figures), gaps), findings
