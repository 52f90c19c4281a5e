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
