-- name: table_columns
SELECT attribute.attname AS name, format_type(attribute.atttypid, attribute.atttypmod) AS type,
    coalesce(col_description(attribute.attrelid, attribute.attnum), '') AS description, attribute.attnotnull AS not_null
FROM pg_attribute AS attribute
WHERE attribute.attrelid = to_regclass(%s) AND attribute.attnum > 0 AND NOT attribute.attisdropped
ORDER BY attribute.attnum
