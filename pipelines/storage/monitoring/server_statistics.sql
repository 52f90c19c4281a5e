-- name: audit_server
SELECT
    (SELECT sum(blks_hit) FROM pg_stat_database)::float8 AS blocks_hit,
    (SELECT sum(blks_read) FROM pg_stat_database)::float8 AS blocks_read,
    -- Who is hidden from this role has no type: then nobody can be counted.
    (SELECT CASE WHEN count(*) FILTER (WHERE backend_type IS NULL) = 0 THEN count(*) FILTER (WHERE backend_type = 'client backend') END
        FROM pg_stat_activity WHERE pid <> pg_backend_pid())::float8 AS connections,
    current_setting('max_connections')::float8 AS connections_allowed,
    -- NULL where some are hidden from this role: theirs may be longer.
    (SELECT CASE WHEN count(*) FILTER (WHERE query = '<insufficient privilege>') = 0
        THEN coalesce(extract(epoch FROM max(clock_timestamp() - xact_start)), 0) END
        FROM pg_stat_activity WHERE coalesce(backend_type, 'client backend') = 'client backend' AND pid <> pg_backend_pid()
    )::float8 AS longest_transaction_seconds,
    (SELECT count(*) FROM pg_stat_activity WHERE query = '<insufficient privilege>' AND pid <> pg_backend_pid())::bigint AS hidden,
    (SELECT count(*) FROM pg_locks WHERE NOT granted)::float8 AS locks_waited_for,
    (SELECT max(age(datfrozenxid)) FROM pg_database)::float8 AS xid_age,
    (SELECT max(mxid_age(datminmxid)) FROM pg_database)::float8 AS multixact_age,
    (SELECT sum(deadlocks) FROM pg_stat_database)::float8 AS deadlocks,
    (SELECT sum(temp_bytes) FROM pg_stat_database)::float8 AS temporary_bytes,
    (SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time()))::float8 AS uptime_seconds,
    (SELECT min(stats_reset) FROM pg_stat_database WHERE datname = current_database()) AS statistics_since,
    pg_database_size(current_database())::float8 AS database_bytes

-- name: audit_settings
SELECT pg_size_bytes(current_setting('shared_buffers'))::float8 AS shared_buffers_bytes,
    pg_size_bytes(current_setting('effective_cache_size'))::float8 AS effective_cache_size_bytes,
    pg_size_bytes(current_setting('work_mem'))::float8 AS work_mem_bytes,
    current_setting('max_connections')::int AS max_connections,
    current_setting('fsync')::bool AS fsync,
    current_setting('full_page_writes')::bool AS full_page_writes,
    current_setting('autovacuum')::bool AS autovacuum,
    current_setting('track_counts')::bool AS track_counts

-- name: audit_checkpoints
SELECT num_timed::float8 AS timed, num_requested::float8 AS requested FROM pg_stat_checkpointer

-- name: audit_checkpoints_before_17
SELECT checkpoints_timed::float8 AS timed, checkpoints_req::float8 AS requested FROM pg_stat_bgwriter

-- name: audit_standbys
-- Whoever follows this server: what it has not replayed yet. NULL where that is hidden from this role, or not known: the server has a lag in
-- seconds only for what was written lately, and who has replayed everything lags by none.
SELECT coalesce(nullif(application_name, ''), 'standby')
        || CASE WHEN row_number() OVER (PARTITION BY application_name ORDER BY client_addr, pid) > 1
            THEN ' ' || row_number() OVER (PARTITION BY application_name ORDER BY client_addr, pid) ELSE '' END AS name,
    lag_bytes, coalesce(extract(epoch FROM replay_lag), CASE WHEN lag_bytes = 0 THEN 0 END)::float8 AS lag_seconds
FROM pg_stat_replication
CROSS JOIN LATERAL (
    SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::float8 END AS lag_bytes
) AS behind
ORDER BY 1

-- name: audit_tables
-- A partitioned table's partitions count as one. Sizes add up: rows, their out-of-line parts with the free space map and the like, indexes.
-- Rows: as the server counts them; after a crash, which loses its counts, as many as the planner knew. Partitions: those that have any.
-- Bloat as `table_health` estimates it, from the planner's statistics: wrong by some percent either way, NULL where there are none of any part.
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
    -- Whoever may read a partitioned table sees its own statistics, not those of its partitions.
    SELECT sum((1 - null_frac) * avg_width) AS bytes FROM pg_stats
    WHERE pg_stats.schemaname = nspname AND pg_stats.tablename IN (pg_class.relname, parent.relname)
    GROUP BY tablename ORDER BY tablename = pg_class.relname DESC LIMIT 1
) AS width ON true
-- Not what is being dropped: it has no size any more.
WHERE pg_class.relkind IN ('r', 'm') AND nspname !~ '^pg_' AND nspname <> 'information_schema' AND pg_relation_size(pg_class.oid) IS NOT NULL
GROUP BY 1 ORDER BY 1

-- name: audit_indexes
-- Unused: never scanned, and neither a constraint's nor a partition's template. Redundant: another index of the table begins with the same columns,
-- and this one neither is unique nor has a predicate or expressions of its own. Slices on both sides, since arrays from 0 and from 1 differ.
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
-- Where pg_stat_statements is: it counts if the server loaded it as it started, and shows if this database has its view, in whatever schema.
SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements') AS available,
    'pg_stat_statements' = ANY (regexp_split_to_array(current_setting('shared_preload_libraries', true), '\s*,\s*')) AS loaded,
    (SELECT nspname FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = 'pg_stat_statements') AS schema

-- name: top_statements
SELECT left(regexp_replace(query, '\s+', ' ', 'g'), 80) AS statement, sum(calls)::float8 AS calls,
    (sum(total_exec_time) / sum(calls))::float8 AS mean_ms,
    (100 * sum(total_exec_time) / nullif(sum(sum(total_exec_time)) OVER (), 0))::float8 AS share_pct
FROM {view} AS counted
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND query <> '<insufficient privilege>' AND calls > 0
GROUP BY 1 ORDER BY sum(total_exec_time) DESC LIMIT 10

-- name: server_processes
-- Whoever works for a connection, by what that calls itself; the rest by its task. Who is hidden from this role has no type.
SELECT pid, CASE WHEN backend_type = 'client backend' THEN 'client ' || coalesce(application_name, '') ELSE backend_type END AS name
FROM pg_stat_activity

-- name: explain
EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)

-- name: first_build
SELECT min(created_at) FROM analytics.model_version

-- name: newest_builds
SELECT DISTINCT ON (symbol, model) symbol, model, coalesce(bar_count, 0) AS bars, coalesce(lookup_rows, 0) AS lookup_rows,
    extract(epoch FROM completed_at - created_at)::float8 AS seconds,
    extract(epoch FROM clock_timestamp() - completed_at)::float8 AS age_seconds
FROM analytics.model_version WHERE state = 'complete' ORDER BY symbol, model, generation DESC

-- name: newest_maintenance
-- The newest finished run of each job, and what came of it: rows that retention removed, dead rows that vacuum cleared away, and what was left.
SELECT DISTINCT ON (job) job, extract(epoch FROM clock_timestamp() - started_at)::float8 AS age_seconds,
    extract(epoch FROM finished_at - started_at)::float8 AS seconds,
    (SELECT sum(value::float8) FROM jsonb_each_text(CASE job WHEN 'retention' THEN result -> 'rows' END))::float8 AS rows_removed,
    (SELECT sum(greatest(0, (change ->> 'dead_rows_before')::float8 - (change ->> 'dead_rows_after')::float8))
        FROM jsonb_array_elements(CASE job WHEN 'vacuum' THEN result -> 'changes' END) AS change)::float8 AS dead_rows_cleared,
    jsonb_array_length(result -> 'left')::float8 AS steps_left
FROM ops.maintenance WHERE finished_at IS NOT NULL ORDER BY job, maintenance_id DESC

-- name: first_session
SELECT min(started_at) FROM live_data.session

-- name: session_spans
-- A session that runs has been there until now, unless it has been silent for longer than the sensor allows.
SELECT started_at, CASE WHEN status = 'running' AND heartbeat_at > clock_timestamp() - interval '10 seconds' THEN clock_timestamp()
    ELSE coalesce(ended_at, heartbeat_at) END AS until
FROM live_data.session
WHERE coalesce(ended_at, heartbeat_at) >= %s ORDER BY started_at

-- name: refreshed_since
-- Since when somebody could have been missed: since the session that runs began to, or since the last one ended.
SELECT CASE WHEN status = 'running' AND heartbeat_at > clock_timestamp() - interval '10 seconds' THEN started_at
    ELSE coalesce(ended_at, heartbeat_at) END
FROM live_data.session ORDER BY session_id DESC LIMIT 1

-- name: live_measures
-- What a live session since then last saved of itself; one that has not refreshed yet has no latencies.
SELECT session_id, created_at, config -> 'latencies_ms' AS latencies_ms, config -> 'counts' AS counts,
    (config ->> 'longest_gap_seconds')::float8 AS longest_gap_seconds, (config ->> 'start_seconds')::float8 AS start_seconds
FROM live_data.session_snapshots
WHERE session_id LIKE 'live-%%' AND created_at >= %s AND config -> 'latencies_ms' <> '{}'
ORDER BY snapshot_id DESC LIMIT 1
