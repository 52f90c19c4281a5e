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
