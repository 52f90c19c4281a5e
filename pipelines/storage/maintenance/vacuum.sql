-- name: table_health
-- bloat_bytes: actual size minus the size of the rows at their average width; accurate to some percent.
SELECT nspname || '.' || pg_class.relname AS table, relkind = 'p' AS parent,
    coalesce(stat.n_live_tup, 0) AS rows, coalesce(stat.n_dead_tup, 0) AS dead_rows,
    coalesce(stat.n_mod_since_analyze, 0) + coalesce(stat.n_ins_since_vacuum, 0) AS changed_rows,
    pg_total_relation_size(pg_class.oid) AS bytes,
    CASE WHEN width.bytes IS NOT NULL AND reltuples > 0
        THEN greatest(0, pg_relation_size(pg_class.oid) - ceil(reltuples * (width.bytes + 28) / (8192 - 24)) * 8192)::bigint
    END AS bloat_bytes,
    CASE WHEN relfrozenxid <> '0' THEN age(relfrozenxid) ELSE 0 END AS xid_age,
    CASE WHEN relminmxid <> '0' THEN mxid_age(relminmxid) ELSE 0 END AS multixact_age,
    greatest(stat.last_vacuum, stat.last_autovacuum) AS vacuumed_at,
    greatest(stat.last_analyze, stat.last_autoanalyze) AS analyzed_at
FROM pg_class
JOIN pg_namespace ON pg_namespace.oid = relnamespace
LEFT JOIN pg_stat_all_tables AS stat ON stat.relid = pg_class.oid
LEFT JOIN LATERAL (
    SELECT sum((1 - null_frac) * avg_width) AS bytes FROM pg_stats
    WHERE pg_stats.schemaname = nspname AND pg_stats.tablename = pg_class.relname
) AS width ON true
WHERE relkind IN ('r', 'm', 'p') AND nspname !~ '^pg_' AND nspname <> 'information_schema'
    AND pg_has_role(current_user, relowner, 'USAGE')
ORDER BY 1

-- name: index_health
-- bloat_bytes: as for tables. An entry has 12 bytes of headers and padding; new pages are filled to 90 %.
SELECT nspname || '.' || index.relname AS index, nspname || '.' || owner.relname AS table, pg_relation_size(index.oid) AS bytes,
    CASE WHEN width.bytes IS NULL OR index.reltuples <= 0 OR amname <> 'btree' THEN 0
        ELSE greatest(0, pg_relation_size(index.oid) - (ceil(index.reltuples * (width.bytes + 16) / (8192 * 0.9)) + 2) * 8192)::bigint
    END AS bloat_bytes,
    indisvalid AS valid
FROM pg_index
JOIN pg_class AS index ON index.oid = indexrelid
JOIN pg_class AS owner ON owner.oid = indrelid
JOIN pg_namespace ON pg_namespace.oid = index.relnamespace
JOIN pg_am ON pg_am.oid = index.relam
LEFT JOIN LATERAL (
    SELECT sum((1 - null_frac) * avg_width) AS bytes FROM pg_stats
    JOIN pg_attribute ON attrelid = index.oid AND pg_attribute.attname = pg_stats.attname
    WHERE pg_stats.schemaname = nspname AND pg_stats.tablename = owner.relname
) AS width ON true
WHERE index.relkind = 'i' AND nspname !~ '^pg_' AND pg_has_role(current_user, index.relowner, 'USAGE')
    AND (indisvalid OR index.relname ~ '_cc(new|old)[0-9]*$')
ORDER BY 1

-- name: vacuum_blockers
-- A role without pg_read_all_stats sees the pid and horizon of other users' sessions.
SELECT format('process %s (%s), in a transaction since %s', pid, coalesce(nullif(application_name, ''), 'of another user'),
    coalesce(to_char(xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), age(backend_xmin) || ' transactions'))
FROM pg_stat_activity
WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
    AND coalesce(xact_start < clock_timestamp() - interval '1 minute', age(backend_xmin) > 1000)
UNION ALL
SELECT format('replication slot %s', slot_name) FROM pg_replication_slots WHERE coalesce(xmin, catalog_xmin) IS NOT NULL
UNION ALL
SELECT format('prepared transaction %s', gid) FROM pg_prepared_xacts

-- name: throttle_vacuum
SELECT set_config('vacuum_cost_delay', '2', false), set_config('maintenance_work_mem', '64MB', false),
    set_config('max_parallel_maintenance_workers', '0', false)

-- name: vacuum_table
VACUUM (ANALYZE, TRUNCATE false) {table}

-- name: vacuum_freeze_table
VACUUM (ANALYZE, FREEZE, TRUNCATE false) {table}

-- name: analyze_table
ANALYZE {table}

-- name: reindex
REINDEX INDEX CONCURRENTLY {index}

-- name: drop_index
DROP INDEX CONCURRENTLY {index}

-- name: autovacuum_drift
SELECT table_name, options, declared FROM ops.autovacuum_drift ORDER BY table_name

-- name: apply_autovacuum_settings
SELECT ops.apply_autovacuum_settings()
