-- name: relations
-- Partitions are read through their tables.
SELECT nspname || '.' || relname AS name,
    array_agg(attname::text ORDER BY attnum) AS columns,
    array_agg(format_type(atttypid, NULL) ORDER BY attnum) AS types,
    array_agg(attnotnull ORDER BY attnum) AS not_null
FROM pg_class
JOIN pg_namespace ON pg_namespace.oid = relnamespace
JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
WHERE nspname IN ('historical_data', 'analytics', 'live_data', 'market_data', 'ops') AND relkind IN ('r', 'p', 'v') AND NOT relispartition
    AND has_table_privilege(pg_class.oid, 'SELECT')
GROUP BY nspname, relname
ORDER BY 1

-- name: count
SELECT count(*) FROM {relation} WHERE {conditions}

-- name: copy_out
COPY (SELECT {columns} FROM {relation} WHERE {conditions} LIMIT {most_rows}) TO STDOUT (FORMAT csv)

-- name: number_array
translate({column}::text, '{{}}', '[]')

-- name: text_array
to_json({column})

-- name: create_rows
CREATE TABLE {target} AS SELECT NULL FROM range({rows})

-- name: create_from_csv
CREATE TABLE {target} AS SELECT {columns} FROM read_csv(
    {path}, columns = {fields}, header = false, auto_detect = false, delim = ',', quote = '"', escape = '"',
    nullstr = '', allow_quoted_nulls = false, new_line = '\n', parallel = true
)

-- name: count_rows
SELECT count(*) FROM {target}

-- name: create_table
CREATE TABLE {target} ({columns})
