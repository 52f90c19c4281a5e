-- name: file_reasons
SELECT reason, count(*) FROM bar WHERE file_index = $1 GROUP BY reason

-- name: file_units
SELECT DISTINCT unit FROM bar WHERE file_index = $1 AND reason IS NULL AND unit IS NOT NULL ORDER BY unit

-- name: first_with_reason
SELECT source_row, coalesce(raw, make_timestamp(minute::BIGINT * 60000000)::VARCHAR) FROM bar WHERE file_index = $1 AND reason = $2 ORDER BY source_row LIMIT 1

-- name: file_series
SELECT position, minute, open, close FROM bar WHERE file_index = $1 AND reason IS NULL ORDER BY position

-- name: refuse_rows
UPDATE bar SET reason = $reason WHERE position IN (SELECT unnest($positions))

-- name: move_rows
UPDATE bar SET minute = moved.minute FROM moved WHERE moved.position = bar.position

-- name: price_facts
-- Number of bars; of those with more digits than they keep; whether all prices went through 32-bit floats, which give
-- 42256.42 as 42256.421875; mean of log(high / low).
SELECT
    count(*),
    coalesce(count_if(
        round(open, digits(high)) <> open OR round(high, digits(high)) <> high OR round(low, digits(high)) <> low
        OR round(close, digits(high)) <> close
    ), 0),
    bool_and(
        open = open::FLOAT::DOUBLE AND high = high::FLOAT::DOUBLE AND low = low::FLOAT::DOUBLE AND close = close::FLOAT::DOUBLE
    ) AND bool_or(close <> round(close, 4)),
    coalesce(avg(ln(high / low)), 0)
FROM bar WHERE file_index = $1 AND reason IS NULL

-- name: shorten_float32
UPDATE bar SET
    open = (open::FLOAT)::VARCHAR::DOUBLE, high = (high::FLOAT)::VARCHAR::DOUBLE, low = (low::FLOAT)::VARCHAR::DOUBLE,
    close = (close::FLOAT)::VARCHAR::DOUBLE
WHERE file_index = $1 AND reason IS NULL

-- name: refuse_too_many_decimals
-- Rounding may only remove noise: a price of 0.0000012345 would change.
UPDATE bar SET reason = 'too_many_decimals'
WHERE file_index = $1 AND reason IS NULL AND (
    abs(round(open, digits(high)) - open) > 1e-6 * open OR abs(round(high, digits(high)) - high) > 1e-6 * high
    OR abs(round(low, digits(high)) - low) > 1e-6 * low OR abs(round(close, digits(high)) - close) > 1e-6 * close
)

-- name: round_prices
UPDATE bar SET
    open = round(open, digits(high)), high = round(high, digits(high)), low = round(low, digits(high)), close = round(close, digits(high))
WHERE file_index = $1 AND reason IS NULL

-- name: contradiction_in_file
SELECT min(minute), count(*), list(minute ORDER BY minute)
FROM (
    SELECT minute FROM bar WHERE file_index = $1 AND reason IS NULL
    GROUP BY minute HAVING count(DISTINCT (open, high, low, close, volume)) > 1
)

-- name: drop_repeated
UPDATE bar SET reason = 'repeated'
WHERE position IN (
    SELECT position FROM bar WHERE reason IS NULL AND ($1 IS NULL OR file_index = $1)
    QUALIFY row_number() OVER (PARTITION BY minute ORDER BY position) > 1
)
