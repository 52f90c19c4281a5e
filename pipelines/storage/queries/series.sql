-- name: symbols
-- One step along the index for each symbol.
WITH RECURSIVE found AS (
    (SELECT symbol FROM {relation} ORDER BY symbol LIMIT 1)
    UNION ALL
    SELECT (SELECT symbol FROM {relation} AS later WHERE later.symbol > found.symbol ORDER BY symbol LIMIT 1)
    FROM found WHERE found.symbol IS NOT NULL
)
SELECT symbol FROM found WHERE symbol IS NOT NULL

-- name: span
SELECT min({instant}), max({instant}) FROM {relation} WHERE symbol = {symbol} AND ({conditions})

-- name: arrays
SELECT {columns} FROM {relation} WHERE symbol = {symbol} AND {instant} >= {since} AND {instant} < {until} AND ({conditions})

-- name: array
array_agg({column})

-- name: insert_arrays
INSERT INTO {target} SELECT {columns} FROM arrays
