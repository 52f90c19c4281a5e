-- Bloat: what the rows would take at their average width, against what they take. Wrong by some percent either way.
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
