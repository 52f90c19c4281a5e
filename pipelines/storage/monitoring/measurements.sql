-- name: server
SELECT name, unit, value, '{}'::jsonb AS labels FROM (VALUES
    ('database_size', 'B', pg_database_size(current_database())::float8),
    ('cache_hits', '%%', (SELECT 100 * sum(blks_hit) / nullif(sum(blks_hit + blks_read), 0) FROM pg_stat_database)::float8),
    ('blocks_requested', '', (SELECT sum(blks_hit + blks_read) FROM pg_stat_database)::float8),
    -- A connection hidden from this role has no type: then the number is not known.
    ('connections', '', (
        SELECT CASE WHEN count(*) FILTER (WHERE backend_type IS NULL) = 0 THEN count(*) FILTER (WHERE backend_type = 'client backend') END
        FROM pg_stat_activity WHERE pid <> pg_backend_pid())::float8),
    ('connections_allowed', '', current_setting('max_connections')::float8),
    -- NULL where some are hidden from this role, as theirs may be longer.
    ('longest_transaction', 's', (
        SELECT CASE WHEN count(*) FILTER (WHERE query = '<insufficient privilege>') = 0
            THEN coalesce(extract(epoch FROM max(clock_timestamp() - xact_start)), 0) END
        FROM pg_stat_activity WHERE coalesce(backend_type, 'client backend') = 'client backend' AND pid <> pg_backend_pid())::float8),
    ('locks_waited_for', '', (SELECT count(*) FROM pg_locks WHERE NOT granted)::float8),
    ('oldest_transaction_age', '', (SELECT max(age(datfrozenxid)) FROM pg_database)::float8),
    ('oldest_multixact_age', '', (SELECT max(mxid_age(datminmxid)) FROM pg_database)::float8),
    ('deadlocks', '', (SELECT sum(deadlocks) FROM pg_stat_database)::float8),
    ('temporary_files', 'B', (SELECT sum(temp_bytes) FROM pg_stat_database)::float8),
    ('server_uptime', 's', extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8),
    ('statistics_age', 's', (SELECT extract(epoch FROM clock_timestamp() - greatest(pg_postmaster_start_time(), stats_reset))
        FROM pg_stat_database WHERE datname = current_database())::float8)
) AS measured (name, unit, value)

-- name: checkpoints
SELECT 'checkpoints' AS name, '' AS unit, value, jsonb_build_object('why', why) AS labels
FROM pg_stat_checkpointer, LATERAL (VALUES ('their time', num_timed::float8), ('early', num_requested::float8)) AS measured (why, value)

-- name: checkpoints_before_17
SELECT 'checkpoints' AS name, '' AS unit, value, jsonb_build_object('why', why) AS labels
FROM pg_stat_bgwriter, LATERAL (VALUES ('their time', checkpoints_timed::float8), ('early', checkpoints_req::float8)) AS measured (why, value)

-- name: standbys
-- A lag in bytes is NULL where it is hidden from this role, or not known; the server reports seconds only for recent writes.
SELECT measured.name, unit, value, jsonb_build_object('standby', coalesce(nullif(application_name, ''), 'standby')
    || CASE WHEN number > 1 THEN ' ' || number ELSE '' END) AS labels
FROM (
    SELECT *, row_number() OVER (PARTITION BY application_name ORDER BY client_addr, pid) AS number,
        CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::float8 END AS lag_bytes
    FROM pg_stat_replication
) AS standby
CROSS JOIN LATERAL (VALUES
    ('replication_lag_size', 'B', lag_bytes),
    ('replication_lag', 's', coalesce(extract(epoch FROM replay_lag), CASE WHEN lag_bytes = 0 THEN 0 END)::float8)
) AS measured (name, unit, value)
WHERE measured.name = 'replication_lag_size' OR value IS NOT NULL
ORDER BY labels, measured.name

-- name: audit_settings
SELECT pg_size_bytes(current_setting('shared_buffers'))::float8 AS shared_buffers_bytes,
    pg_size_bytes(current_setting('effective_cache_size'))::float8 AS effective_cache_size_bytes,
    pg_size_bytes(current_setting('work_mem'))::float8 AS work_mem_bytes,
    current_setting('max_connections')::int AS max_connections,
    current_setting('fsync')::bool AS fsync,
    current_setting('full_page_writes')::bool AS full_page_writes,
    current_setting('autovacuum')::bool AS autovacuum,
    current_setting('track_counts')::bool AS track_counts

-- name: audit_tables
-- Partitions are added to their table. Heap, TOAST with free space map and the like, and indexes add up to the total size.
-- Rows are those of the statistics or, after a crash, which resets them, of the planner. `partitions`: those with rows.
-- Bloat is estimated as in `table_health`, from the planner's statistics: wrong by some percent, NULL without statistics.
SELECT nspname || '.' || coalesce(parent.relname, pg_class.relname) AS table,
    sum(pg_relation_size(pg_class.oid))::bigint AS heap_bytes,
    sum(pg_table_size(pg_class.oid) - pg_relation_size(pg_class.oid))::bigint AS toast_bytes,
    sum(pg_indexes_size(pg_class.oid))::bigint AS index_bytes,
    sum(known.rows)::bigint AS rows,
    sum(coalesce(n_dead_tup, 0))::bigint AS dead_rows,
    sum(coalesce(idx_scan, 0))::bigint AS index_scans,
    sum(coalesce(seq_scan, 0))::bigint AS sequential_scans,
    count(*) FILTER (WHERE known.rows > 0)::bigint AS partitions,
    sum(coalesce(seq_tup_read, 0))::bigint AS rows_read_sequentially,
    sum(CASE WHEN width.bytes IS NOT NULL AND pg_class.reltuples > 0
        THEN greatest(0, pg_relation_size(pg_class.oid) - ceil(pg_class.reltuples * (width.bytes + 28) / (8192 - 24)) * 8192)
    END)::bigint AS bloat_bytes
FROM pg_class
JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
LEFT JOIN pg_inherits ON inhrelid = pg_class.oid
LEFT JOIN pg_class AS parent ON parent.oid = inhparent
LEFT JOIN pg_stat_all_tables AS stat ON stat.relid = pg_class.oid
CROSS JOIN LATERAL (
    SELECT CASE WHEN coalesce(last_vacuum, last_autovacuum, last_analyze, last_autoanalyze) IS NULL
        THEN greatest(coalesce(n_live_tup, 0), pg_class.reltuples) ELSE n_live_tup END AS rows
) AS known
LEFT JOIN LATERAL (
    -- A role that may read a partitioned table sees its own statistics, not those of its partitions.
    SELECT sum((1 - null_frac) * avg_width) AS bytes FROM pg_stats
    WHERE pg_stats.schemaname = nspname AND pg_stats.tablename IN (pg_class.relname, parent.relname)
    GROUP BY tablename ORDER BY tablename = pg_class.relname DESC LIMIT 1
) AS width ON true
-- A table that is being dropped has no size.
WHERE pg_class.relkind IN ('r', 'm') AND nspname !~ '^pg_' AND nspname <> 'information_schema' AND pg_relation_size(pg_class.oid) IS NOT NULL
GROUP BY 1 ORDER BY 1

-- name: audit_indexes
-- `covered_by`: another index of the table that begins with the same columns, where this one is not unique and has no predicate or expressions.
-- Slices on both sides, since arrays from 0 and from 1 differ.
SELECT nspname || '.' || index.relname AS index, nspname || '.' || owner.relname AS table, pg_relation_size(index.oid) AS bytes,
    coalesce(idx_scan, 0) AS scans,
    indisunique OR indisprimary OR indisexclusion OR EXISTS (SELECT FROM pg_constraint WHERE conindid = index.oid) AS constrained,
    (
        SELECT nspname || '.' || cover.relname FROM pg_index AS wider JOIN pg_class AS cover ON cover.oid = wider.indexrelid
        WHERE wider.indrelid = mine.indrelid AND wider.indexrelid <> mine.indexrelid AND wider.indisvalid
            AND cover.relam = index.relam AND wider.indpred IS NULL AND wider.indexprs IS NULL AND mine.indexprs IS NULL
            AND mine.indpred IS NULL AND NOT mine.indisunique
            AND (wider.indkey::int2[])[0:array_length(mine.indkey::int2[], 1) - 1] = (mine.indkey::int2[])[0:array_length(mine.indkey::int2[], 1) - 1]
            AND (wider.indclass::oid[])[0:array_length(mine.indclass::oid[], 1) - 1] = (mine.indclass::oid[])[0:array_length(mine.indclass::oid[], 1) - 1]
            AND (array_length(wider.indkey::int2[], 1) > array_length(mine.indkey::int2[], 1) OR wider.indisunique OR wider.indexrelid < mine.indexrelid)
        ORDER BY cover.relname LIMIT 1
    ) AS covered_by
FROM pg_index AS mine
JOIN pg_class AS index ON index.oid = mine.indexrelid
JOIN pg_class AS owner ON owner.oid = mine.indrelid
JOIN pg_namespace ON pg_namespace.oid = index.relnamespace
LEFT JOIN pg_stat_all_indexes AS stat ON stat.indexrelid = index.oid
WHERE index.relkind = 'i' AND nspname !~ '^pg_' AND nspname <> 'information_schema'
ORDER BY 1

-- name: statements_extension
-- pg_stat_statements counts if the server loaded it at its start, and is readable if this database has its view, in any schema.
SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements') AS available,
    'pg_stat_statements' = ANY (regexp_split_to_array(current_setting('shared_preload_libraries', true), '\s*,\s*')) AS loaded,
    (SELECT nspname FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = 'pg_stat_statements') AS schema

-- name: top_statements
SELECT measured.name, unit, value, jsonb_build_object('statement', statement) AS labels FROM (
    SELECT left(regexp_replace(query, '\s+', ' ', 'g'), 80) AS statement, sum(calls)::float8 AS calls,
        (sum(total_exec_time) / sum(calls))::float8 AS mean_ms,
        (100 * sum(total_exec_time) / nullif(sum(sum(total_exec_time)) OVER (), 0))::float8 AS share_pct
    FROM {view} AS counted
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND query <> '<insufficient privilege>' AND calls > 0
    GROUP BY 1 ORDER BY sum(total_exec_time) DESC LIMIT 10
) AS top
CROSS JOIN LATERAL (VALUES ('statement_share', '%%', share_pct), ('statement_mean', 'ms', mean_ms), ('statement_calls', '', calls))
    AS measured (name, unit, value)

-- name: server_processes
-- Backends of strikecast by their application name, others as clients, other processes by their type, which is NULL where it is hidden from this role.
SELECT pid, CASE WHEN backend_type IS DISTINCT FROM 'client backend' THEN backend_type WHEN application_name LIKE 'strikecast%' THEN application_name
    ELSE 'client' END AS name
FROM pg_stat_activity WHERE pid <> pg_backend_pid()

-- name: explain
EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)

-- name: builds
-- The newest build of each symbol and model.
SELECT name, unit, value, jsonb_build_object('symbol', symbol, 'model', model) AS labels FROM (
    SELECT DISTINCT ON (symbol, model) *, extract(epoch FROM completed_at - created_at)::float8 AS seconds,
        extract(epoch FROM clock_timestamp() - completed_at)::float8 AS age_seconds
    FROM analytics.model_version WHERE state = 'complete' ORDER BY symbol, model, generation DESC
) AS newest
CROSS JOIN LATERAL (VALUES ('build_seconds', 's', seconds), ('build_age', 's', age_seconds), ('build_bars', '', coalesce(bar_count, 0)),
    ('build_lookup_rows', '', coalesce(lookup_rows, 0))) AS measured (name, unit, value)
UNION ALL
SELECT 'first_build_age', 's', extract(epoch FROM %(now)s - min(created_at))::float8, '{}' FROM analytics.model_version HAVING count(*) > 0

-- name: maintenance
-- The newest finished run of each job with its results: rows that retention removed, dead rows that vacuum removed, steps not executed.
SELECT name, unit, value, jsonb_strip_nulls(jsonb_build_object('job', job, 'what', what)) AS labels FROM (
    SELECT DISTINCT ON (job) *, extract(epoch FROM clock_timestamp() - started_at)::float8 AS age_seconds,
        extract(epoch FROM finished_at - started_at)::float8 AS seconds
    FROM ops.maintenance WHERE finished_at IS NOT NULL ORDER BY job, maintenance_id DESC
) AS newest
CROSS JOIN LATERAL (VALUES
    ('maintenance_age', 's', NULL, age_seconds),
    ('maintenance_seconds', 's', NULL, seconds),
    ('maintenance_result', '', 'rows_removed',
        (SELECT sum(value::float8) FROM jsonb_each_text(CASE job WHEN 'retention' THEN result -> 'rows' END))),
    ('maintenance_result', '', 'dead_rows_cleared',
        (SELECT sum(greatest(0, (change ->> 'dead_rows_before')::float8 - (change ->> 'dead_rows_after')::float8))
            FROM jsonb_array_elements(CASE job WHEN 'vacuum' THEN result -> 'changes' END) AS change)),
    ('maintenance_result', '', 'steps_left', jsonb_array_length(result -> 'left'))
) AS measured (name, unit, what, value)
WHERE value IS NOT NULL

-- name: availability
-- Share of the time since a given one, or since the first session, that live sessions cover.
-- A running session lasts until now, unless its last heartbeat is older than the sensor allows.
WITH span AS (
    SELECT tstzrange(started_at, CASE WHEN status = 'running' AND heartbeat_at > clock_timestamp() - interval '10 seconds'
        THEN clock_timestamp() ELSE greatest(started_at, coalesce(ended_at, heartbeat_at)) END) AS span
    FROM live_data.session
), period AS (
    SELECT tstzrange(greatest(%(since)s, min(started_at)), %(now)s) AS period FROM live_data.session HAVING min(started_at) < %(now)s
)
SELECT 'session_availability' AS name, '%%' AS unit, (100 * coalesce((SELECT sum(extract(epoch FROM upper(covered) - lower(covered)))
        FROM unnest((SELECT range_agg(span) FROM span) * tstzmultirange(period)) AS covered), 0)
    / extract(epoch FROM upper(period) - lower(period)))::float8 AS value, '{}'::jsonb AS labels
FROM period

-- name: refreshed_since
SELECT CASE WHEN status = 'running' AND heartbeat_at > clock_timestamp() - interval '10 seconds' THEN started_at
    ELSE coalesce(ended_at, heartbeat_at) END
FROM live_data.session ORDER BY session_id DESC LIMIT 1

-- name: live_session
-- The newest snapshot since a time; a session that has not refreshed yet has no latencies, one of an older version no counts.
WITH newest AS (
    SELECT config FROM live_data.session_snapshots
    WHERE session_id LIKE 'live-%%' AND created_at >= %(hour_ago)s AND config -> 'latencies_ms' <> '{}'
    ORDER BY snapshot_id DESC LIMIT 1
)
SELECT 'live_latency' AS name, 'ms' AS unit, value::float8, jsonb_build_object('stage', stage, 'percentile', percentile) AS labels
FROM newest, jsonb_each(config -> 'latencies_ms') AS stages (stage, percentiles), jsonb_each(percentiles) AS each (percentile, value)
UNION ALL
SELECT name, unit, value::float8, '{}' FROM newest, LATERAL (VALUES
    ('live_cycles', '', config -> 'counts' ->> 'cycles'),
    ('live_cycles_late', '', config -> 'counts' ->> 'overruns'),
    ('live_ticks', '', config -> 'counts' ->> 'ticks'),
    ('live_stale', 's', config -> 'counts' ->> 'seconds_stale'),
    ('live_longest_gap', 's', config ->> 'longest_gap_seconds'),
    ('live_start', 's', config ->> 'start_seconds')
) AS measured (name, unit, value)

-- name: desk
-- Of each campaign of the paper desk; stranded trades closed an hour ago and are not settled.
WITH measured AS (
    SELECT opened.campaign, newest.status, newest.created_at, trade.trades, trade.stranded, ledger.unbalanced
    FROM live_data.desk_event AS opened
    CROSS JOIN LATERAL (
        SELECT status, created_at FROM live_data.session_snapshots
        WHERE session_id = 'desk:' || opened.campaign ORDER BY snapshot_id DESC LIMIT 1
    ) AS newest
    CROSS JOIN LATERAL (
        SELECT count(*) AS trades, count(*) FILTER (
            WHERE stage IN ('signalled', 'working', 'open') AND closes_at < %(now)s::timestamptz - interval '1 hour'
        ) AS stranded
        FROM live_data.desk_trade WHERE desk_trade.campaign = opened.campaign
    ) AS trade
    CROSS JOIN LATERAL (
        SELECT count(*) AS unbalanced FROM (
            SELECT FROM live_data.desk_ledger WHERE desk_ledger.campaign = opened.campaign
            GROUP BY event HAVING sum(amount_usd) <> 0
        ) AS event
    ) AS ledger
    WHERE opened.event = 0
)
SELECT name, unit, value::float8, jsonb_build_object('campaign', campaign) AS labels
FROM measured CROSS JOIN LATERAL (VALUES
    ('desk_trades', '', trades),
    ('desk_stranded_trades', '', stranded),
    ('desk_unbalanced_events', '', unbalanced),
    ('desk_save_age', 's', CASE WHEN status = 'running' THEN extract(epoch FROM %(now)s - created_at) END)
) AS each (name, unit, value)
WHERE value IS NOT NULL
ORDER BY campaign, name

-- name: collation_mismatches
-- Of the database, and of collations that its indexes use. Those of C have no version.
SELECT 'database ' || datname, datcollversion, pg_database_collation_actual_version(oid)
FROM pg_database
WHERE datname = current_database() AND datcollversion IS NOT NULL
    AND datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid)
UNION ALL
SELECT 'collation ' || collname, collversion, pg_collation_actual_version(oid)
FROM pg_collation
WHERE collversion IS NOT NULL AND collversion IS DISTINCT FROM pg_collation_actual_version(oid)
    AND oid IN (SELECT unnest(indcollation::oid[]) FROM pg_index)
