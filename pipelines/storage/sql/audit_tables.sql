-- A partitioned table's partitions count as one. Sizes add up: rows, their out-of-line parts with the free space map and the like, indexes.
SELECT nspname || '.' || coalesce(parent.relname, pg_class.relname) AS table,
    sum(pg_relation_size(pg_class.oid))::bigint AS heap_bytes,
    sum(pg_table_size(pg_class.oid) - pg_relation_size(pg_class.oid))::bigint AS toast_bytes,
    sum(pg_indexes_size(pg_class.oid))::bigint AS index_bytes,
    sum(coalesce(n_live_tup, 0))::bigint AS rows,
    sum(coalesce(n_dead_tup, 0))::bigint AS dead_rows,
    sum(coalesce(seq_scan, 0))::bigint AS sequential_scans,
    sum(coalesce(seq_tup_read, 0))::bigint AS rows_read_sequentially
FROM pg_class
JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
LEFT JOIN pg_inherits ON inhrelid = pg_class.oid
LEFT JOIN pg_class AS parent ON parent.oid = inhparent
LEFT JOIN pg_stat_all_tables AS stat ON stat.relid = pg_class.oid
WHERE pg_class.relkind IN ('r', 'm') AND nspname !~ '^pg_' AND nspname <> 'information_schema'
GROUP BY 1 ORDER BY 1
