-- name: explain
EXPLAIN (FORMAT json)

-- name: parse
SELECT json_serialize_sql('SELECT 1 WHERE ' || $1)
