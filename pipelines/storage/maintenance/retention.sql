-- name: day_partitions
SELECT regexp_replace(relname, '_[0-9]{8}$', '') AS table, relname::text AS name, to_date(right(relname, 8), 'YYYYMMDD') AS day,
    pg_total_relation_size(pg_class.oid) AS bytes, inhrelid IS NOT NULL AS attached, coalesce(inhdetachpending, false) AS detaching
FROM pg_class
LEFT JOIN pg_inherits ON inhrelid = pg_class.oid
WHERE relnamespace IN ('live_data'::regnamespace, 'market_data'::regnamespace) AND relkind = 'r'
    AND relname ~ '^(price_log|answer|market_quote)_[0-9]{8}$'
ORDER BY relname

-- name: partition_state
SELECT inhparent IS NOT NULL, coalesce(inhdetachpending, false)
FROM pg_class LEFT JOIN pg_inherits ON inhrelid = pg_class.oid
WHERE pg_class.oid = to_regclass(%s)

-- name: detach_partition
ALTER TABLE {parent} DETACH PARTITION {partition} CONCURRENTLY

-- name: finish_detach
ALTER TABLE {parent} DETACH PARTITION {partition} FINALIZE

-- name: drop_table
DROP TABLE {table}

-- name: count_rows
SELECT count(*) FROM {table}

-- name: newest_tick_of_any
SELECT max(newest.at) FROM unnest(%s::text[]) AS known (symbol)
CROSS JOIN LATERAL (SELECT max(ticked_at) AS at FROM live_data.price_log WHERE price_log.symbol = known.symbol) AS newest

-- name: newest_answer_of_any
SELECT max(newest.at) FROM unnest(%s::text[]) AS known (symbol)
CROSS JOIN LATERAL (SELECT max(answered_at) AS at FROM live_data.answer WHERE answer.symbol = known.symbol) AS newest

-- name: is_active_generation
SELECT 1 FROM analytics.active_generation WHERE generation = %s

-- name: retention_generations
SELECT version.generation, version.symbol, version.model, version.state = 'complete' AS complete,
    version.published_at IS NOT NULL AS published, active.generation IS NOT NULL AS active, version.created_at,
    coalesce(pg_total_relation_size(to_regclass('analytics.lookup_' || version.generation)), 0) AS bytes
FROM analytics.model_version AS version
LEFT JOIN analytics.active_generation AS active USING (generation)
WHERE version.pruned_at IS NULL
ORDER BY version.generation

-- name: retention_sessions
SELECT latest.session_id, latest.snapshot_id AS newest_snapshot, latest.created_at AS newest_at, latest.status,
    counted.snapshots, counted.old_snapshots, latest.session_id LIKE 'desk:%%' AS is_desk
FROM live_data.v_latest_snapshots AS latest
CROSS JOIN LATERAL (
    SELECT count(*) AS snapshots,
        count(*) FILTER (WHERE one.created_at < %(before)s AND one.snapshot_id < latest.snapshot_id) AS old_snapshots
    FROM live_data.session_snapshots AS one WHERE one.session_id = latest.session_id
) AS counted
ORDER BY latest.session_id

-- name: delete_fingerprints
DELETE FROM analytics.fingerprint WHERE generation = %s

-- name: set_pruned_at
UPDATE analytics.model_version SET pruned_at = clock_timestamp() WHERE generation = %s

-- name: delete_live_sessions
WITH expired AS (
    SELECT session_id FROM live_data.session
    WHERE status <> 'running' AND ended_at < %(before)s AND session_id < (SELECT max(session_id) FROM live_data.session)
    ORDER BY session_id LIMIT %(batch)s FOR UPDATE SKIP LOCKED
), deleted AS (
    DELETE FROM live_data.session USING expired WHERE session.session_id = expired.session_id RETURNING 1
)
SELECT count(*) AS session FROM deleted

-- name: delete_snapshots
-- A session that has stored another snapshot since the plan is skipped.
WITH expired AS (
    SELECT snapshot_id FROM live_data.session_snapshots
    WHERE session_id = %(session_id)s AND snapshot_id <= %(last_snapshot)s AND (%(before)s::timestamptz IS NULL OR created_at < %(before)s)
        AND (%(before)s::timestamptz IS NOT NULL OR NOT EXISTS (
            SELECT FROM live_data.session_snapshots AS newer
            WHERE newer.session_id = %(session_id)s AND newer.snapshot_id > %(newest_snapshot)s
        ))
    ORDER BY snapshot_id LIMIT %(batch)s FOR UPDATE SKIP LOCKED
), position AS (
    DELETE FROM live_data.position_snapshots USING expired WHERE position_snapshots.snapshot_id = expired.snapshot_id RETURNING 1
), metrics AS (
    DELETE FROM live_data.metrics_snapshots USING expired WHERE metrics_snapshots.snapshot_id = expired.snapshot_id RETURNING 1
), risk AS (
    DELETE FROM live_data.risk_guard_snapshots USING expired WHERE risk_guard_snapshots.snapshot_id = expired.snapshot_id RETURNING 1
), session AS (
    DELETE FROM live_data.session_snapshots USING expired WHERE session_snapshots.snapshot_id = expired.snapshot_id RETURNING 1
)
SELECT (SELECT count(*) FROM session) AS session_snapshots, (SELECT count(*) FROM position) AS position_snapshots,
    (SELECT count(*) FROM metrics) AS metrics_snapshots, (SELECT count(*) FROM risk) AS risk_guard_snapshots

-- name: crash_silent_sessions
UPDATE live_data.session SET status = 'crashed', ended_at = heartbeat_at, ended_because = 'no heartbeat, found by retention'
WHERE status = 'running' AND heartbeat_at < %s

-- name: crash_silent_snapshot
UPDATE live_data.session_snapshots SET status = 'crashed'
WHERE snapshot_id = %(newest_snapshot)s AND status = 'running' AND NOT EXISTS (
    SELECT FROM live_data.session_snapshots AS newer
    WHERE newer.session_id = %(session_id)s AND newer.snapshot_id > %(newest_snapshot)s
)

-- name: delete_reference_values
-- By the primary key, of each symbol and kind: a scan of the table would read the deleted rows again in each batch.
WITH RECURSIVE pair AS (
    (SELECT symbol, kind FROM live_data.reference_value ORDER BY symbol, kind LIMIT 1)
    UNION ALL
    SELECT next.symbol, next.kind FROM pair CROSS JOIN LATERAL (
        SELECT symbol, kind FROM live_data.reference_value AS reference
        WHERE (reference.symbol, reference.kind) > (pair.symbol, pair.kind) ORDER BY symbol, kind LIMIT 1
    ) AS next
), expired AS (
    SELECT pair.symbol, pair.kind, oldest.valued_at FROM pair CROSS JOIN LATERAL (
        SELECT valued_at FROM live_data.reference_value AS reference
        WHERE reference.symbol = pair.symbol AND reference.kind = pair.kind AND valued_at < %(before)s
        ORDER BY valued_at LIMIT %(batch)s
    ) AS oldest LIMIT %(batch)s
), deleted AS (
    DELETE FROM live_data.reference_value AS reference USING expired
    WHERE (reference.symbol, reference.kind, reference.valued_at) = (expired.symbol, expired.kind, expired.valued_at) RETURNING 1
)
SELECT count(*) AS reference_value FROM deleted

-- name: delete_desk_inputs
WITH expired AS (
    SELECT campaign, first_input FROM live_data.desk_inputs WHERE newest_at < %(before)s
    ORDER BY campaign, first_input LIMIT %(batch)s FOR UPDATE SKIP LOCKED
), deleted AS (
    DELETE FROM live_data.desk_inputs AS journal USING expired
    WHERE (journal.campaign, journal.first_input) = (expired.campaign, expired.first_input) RETURNING 1
)
SELECT count(*) AS desk_inputs FROM deleted

-- name: closed_days
-- Of each symbol, by the index of its closes.
WITH RECURSIVE known AS (
    (SELECT symbol FROM market_data.market ORDER BY symbol LIMIT 1)
    UNION ALL
    SELECT (SELECT symbol FROM market_data.market WHERE market.symbol > known.symbol ORDER BY symbol LIMIT 1)
    FROM known WHERE known.symbol IS NOT NULL
)
SELECT (closes_at AT TIME ZONE 'UTC')::date AS day, count(*) AS markets
FROM known JOIN market_data.market USING (symbol)
WHERE closes_at < %(before)s AND changed_at < %(before)s GROUP BY 1 ORDER BY 1

-- name: delete_markets
-- A market has 60 to 1,500 candles, so a batch is a few markets.
WITH expired AS (
    SELECT market_id FROM market_data.market
    WHERE market_id = ANY (%(markets)s) AND changed_at < %(before)s
    ORDER BY market_id LIMIT greatest(1, %(batch)s / 50) FOR UPDATE SKIP LOCKED
), candle AS (
    DELETE FROM market_data.market_candle USING expired WHERE market_candle.market_id = expired.market_id RETURNING 1
), revision AS (
    DELETE FROM market_data.market_revision USING expired WHERE market_revision.market_id = expired.market_id RETURNING 1
), market AS (
    DELETE FROM market_data.market USING expired WHERE market.market_id = expired.market_id RETURNING 1
)
SELECT (SELECT count(*) FROM market) AS market, (SELECT count(*) FROM candle) AS market_candle,
    (SELECT count(*) FROM revision) AS market_revision

-- name: delete_event_fees
-- Of events without markets; seen_at is the last change.
WITH expired AS (
    SELECT exchange, series_ticker, event_ticker, starts_at FROM market_data.market_fee AS fee
    WHERE event_ticker <> '' AND seen_at < %(before)s AND NOT EXISTS (
        SELECT FROM market_data.market WHERE market.event_ticker = fee.event_ticker AND market.exchange = fee.exchange
    )
    LIMIT %(batch)s FOR UPDATE SKIP LOCKED
), deleted AS (
    DELETE FROM market_data.market_fee AS fee USING expired
    WHERE (fee.exchange, fee.series_ticker, fee.event_ticker, fee.starts_at)
        = (expired.exchange, expired.series_ticker, expired.event_ticker, expired.starts_at) RETURNING 1
)
SELECT count(*) AS market_fee FROM deleted

-- name: delete_quarantined
WITH expired AS (
    SELECT ctid FROM historical_data.quarantined_bar WHERE quarantined_at < %(before)s LIMIT %(batch)s FOR UPDATE SKIP LOCKED
), deleted AS (
    DELETE FROM historical_data.quarantined_bar AS bar USING expired WHERE bar.ctid = expired.ctid RETURNING 1
)
SELECT count(*) AS quarantined_bar FROM deleted

-- name: delete_reports
WITH expired AS (
    SELECT name FROM ops.file WHERE starts_with(name, 'reports/') AND written_at < %(before)s LIMIT %(batch)s FOR UPDATE SKIP LOCKED
), deleted AS (
    DELETE FROM ops.file AS report USING expired WHERE report.name = expired.name RETURNING 1
)
SELECT count(*) AS file FROM deleted

-- name: delete_audits
-- An audit cascades to 100 to 200 rows, so a batch is a few audits; audits with a name are kept.
WITH expired AS (
    SELECT audit_id FROM ops.audit
    WHERE started_at < CASE kind WHEN 'full' THEN %(full_before)s::timestamptz ELSE %(quick_before)s::timestamptz END
        AND NOT EXISTS (SELECT FROM ops.audit_baseline WHERE audit_baseline.audit_id = audit.audit_id)
    ORDER BY audit_id LIMIT greatest(1, %(batch)s / 200) FOR UPDATE SKIP LOCKED
), deleted AS (
    DELETE FROM ops.audit USING expired WHERE audit.audit_id = expired.audit_id RETURNING 1
)
SELECT count(*) AS audit FROM deleted

-- name: dagster_event_logs
SELECT to_regclass('public.event_logs')

-- name: dagster_runs
-- holds_newest: the run has the newest event of a kind of an asset and partition, or the newest execution of a check.
WITH newest_event AS (
    SELECT DISTINCT ON (asset_key, partition, dagster_event_type) run_id
    FROM event_logs
    WHERE asset_key IS NOT NULL AND dagster_event_type IN ('ASSET_MATERIALIZATION', 'ASSET_OBSERVATION')
    ORDER BY asset_key, partition, dagster_event_type, id DESC
), newest_check AS (
    SELECT DISTINCT ON (asset_key, check_name, partition) run_id FROM asset_check_executions
    ORDER BY asset_key, check_name, partition, id DESC
), holder AS (
    SELECT run_id FROM newest_event UNION SELECT run_id FROM newest_check
)
SELECT runs.run_id, runs.pipeline_name AS job,
    CASE WHEN runs.status IN ('SUCCESS', 'FAILURE', 'CANCELED')
        THEN coalesce(to_timestamp(runs.end_time), runs.update_timestamp AT TIME ZONE 'UTC') END AS ended_at,
    holder.run_id IS NOT NULL AS holds_newest
FROM runs LEFT JOIN holder ON holder.run_id = runs.run_id

-- name: delete_dagster_runs
-- One statement, so that a deleted run leaves no orphaned rows.
WITH expired AS (
    SELECT run_id FROM runs
    WHERE run_id = ANY (%(runs)s) AND status IN ('SUCCESS', 'FAILURE', 'CANCELED')
    FOR UPDATE SKIP LOCKED
), event AS (
    DELETE FROM event_logs USING expired WHERE event_logs.run_id = expired.run_id RETURNING event_logs.id
), event_tag AS (
    DELETE FROM asset_event_tags USING event WHERE asset_event_tags.event_id = event.id RETURNING 1
), executed_check AS (
    DELETE FROM asset_check_executions USING expired WHERE asset_check_executions.run_id = expired.run_id RETURNING 1
), tag AS (
    DELETE FROM run_tags USING expired WHERE run_tags.run_id = expired.run_id RETURNING 1
), run AS (
    DELETE FROM runs USING expired WHERE runs.run_id = expired.run_id RETURNING runs.run_id
)
SELECT (SELECT count(*) FROM run) AS runs, (SELECT count(*) FROM event) AS event_logs,
    (SELECT count(*) FROM event_tag) AS asset_event_tags, (SELECT count(*) FROM executed_check) AS asset_check_executions,
    (SELECT count(*) FROM tag) AS run_tags
