-- As for tables: an entry takes its columns, 12 bytes of headers and padding; a fresh page is filled to 90 %.
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
