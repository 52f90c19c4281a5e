-- name: set_utc
SET TimeZone = 'UTC'

-- name: distrust_statistics
-- What a file claims about its values must not decide how they are read.
SET disabled_optimizers = 'statistics_propagation'

-- name: create_reason
CREATE TYPE reason AS ENUM (
    'malformed', 'bad_time', 'implausible_time', 'out_of_sequence', 'future', 'still_forming', 'off_minute', 'not_a_number',
    'not_positive', 'bad_ohlc', 'too_large', 'too_many_decimals', 'duplicate', 'absent', 'repeated', 'archived'
)

-- name: create_bar
-- `reason` is NULL for accepted rows; `position` orders all rows of all files as they were read.
CREATE TABLE bar (
    position BIGINT, file_index USMALLINT, source_row INTEGER, minute INTEGER, open DOUBLE, high DOUBLE, low DOUBLE,
    close DOUBLE, volume DOUBLE, unit UTINYINT, reason reason, raw VARCHAR
)

-- name: create_shown
-- PostgreSQL stores no NUL; a damaged cell may have a megabyte.
CREATE TEMP MACRO shown(value) AS left(replace(value::VARCHAR, chr(0), ''), 200)

-- name: set_file
SET VARIABLE file_index = $1

-- name: set_first_position
SET VARIABLE first_position = $1

-- name: set_now
SET VARIABLE now_us = $1

-- name: insert_bars
INSERT INTO bar
WITH validated AS (
    SELECT *,
        CASE
            WHEN opened IS NULL AND absent THEN 'absent'
            WHEN opened_us IS NULL THEN 'bad_time'
            WHEN opened_us > 4102444800000000 THEN 'implausible_time'
            -- 2009-01-03, Bitcoin's first block: no supported asset traded before.
            WHEN opened_us < 1230940800000000 THEN 'implausible_time'
            WHEN opened_us > getvariable('now_us') THEN 'future'
            WHEN opened_us + 60000000 > getvariable('now_us') THEN 'still_forming'
            WHEN opened_us % 60000000 <> 0 THEN 'off_minute'
            WHEN absent THEN 'absent'
            WHEN open IS NULL OR high IS NULL OR low IS NULL OR close IS NULL OR volume IS NULL
                OR NOT (isfinite(open) AND isfinite(high) AND isfinite(low) AND isfinite(close) AND isfinite(volume))
                THEN 'not_a_number'
            WHEN least(open, high, low, close) <= 0 OR volume < 0 THEN 'not_positive'
            WHEN high < greatest(open, close, low) OR low > least(open, close) THEN 'bad_ohlc'
            WHEN high > 4.5e9 OR volume > 1e18 THEN 'too_large'
        END AS reason
    FROM numbered
)
SELECT
    getvariable('first_position') + source_row - 1, getvariable('file_index'), source_row, opened_us // 60000000,
    open, high, low, close, volume, unit, reason,
    CASE WHEN reason <> 'absent' THEN to_json({
        'opened': shown(opened), 'open': shown(open), 'high': shown(high), 'low': shown(low), 'close': shown(close),
        'volume': shown(volume)
    })::VARCHAR END
FROM validated

-- name: insert_rejected_lines
-- DuckDB numbers lines from 1 and counts blank ones.
INSERT INTO bar (position, file_index, source_row, reason, raw)
SELECT NULL, getvariable('file_index'), line - $skipped,
    CASE WHEN trim(any_value(csv_line), chr(13) || chr(10) || ' ') = $header THEN 'repeated' WHEN bool_or(error_type <> 'CAST') THEN 'malformed' WHEN bool_or(column_name = $time_column) THEN 'bad_time' ELSE 'not_a_number' END,
    to_json({'text': left(replace(trim(any_value(csv_line), chr(13) || chr(10)), chr(0), ''), 1000)})::VARCHAR
FROM query_table($rejects)
GROUP BY line

-- name: refused_rows
SELECT position, source_row FROM bar WHERE file_index = $1 AND reason IS NOT NULL AND position IS NOT NULL ORDER BY source_row

-- name: number_refused_rows
UPDATE bar SET source_row = numbered_row.source_row FROM numbered_row WHERE numbered_row.position = bar.position

-- name: create_digits
-- Decimals that a price keeps: 8 at most, and so few that builds can compare all closes of a symbol exactly, even after
-- a hundredfold rise.
CREATE TEMP MACRO digits(price) AS CASE
    WHEN price < 450 THEN 8 WHEN price < 4.5e3 THEN 7 WHEN price < 4.5e4 THEN 6 WHEN price < 4.5e5 THEN 5 WHEN price < 4.5e6 THEN 4
    WHEN price < 4.5e7 THEN 3 ELSE 1
END

-- name: total_reasons
SELECT reason, count(*) FROM bar GROUP BY reason ORDER BY reason

-- name: rejected_rows
SELECT source_row FROM bar WHERE file_index = $1 AND position IS NULL ORDER BY source_row

-- name: count_rows
SELECT count(*) FROM bar WHERE file_index = $1

-- name: next_position
SELECT coalesce(max(position) + 1, 0) FROM bar

-- name: accepted_minutes
SELECT minute FROM bar WHERE reason IS NULL ORDER BY position

-- name: collect_shared_minutes
-- Rows of minutes that several rows have, and whether it is the last minute of their file.
CREATE OR REPLACE TEMP TABLE shared AS
WITH last AS (SELECT file_index, max(minute) AS last_minute FROM bar WHERE reason IS NULL GROUP BY file_index)
SELECT position, file_index, minute, open, high, low, close, volume, minute = last_minute AS is_last
FROM bar JOIN last USING (file_index)
WHERE reason IS NULL AND minute IN (SELECT minute FROM bar WHERE reason IS NULL GROUP BY minute HAVING count(*) > 1)

-- name: supersede_last_bars
-- A file that was written during a minute ends with an unfinished bar of it.
UPDATE bar SET reason = 'duplicate'
WHERE position IN (
    SELECT position FROM shared
    QUALIFY is_last AND count_if(NOT is_last) OVER (PARTITION BY minute) > 0
        AND count(DISTINCT (open, high, low, close, volume)) OVER (PARTITION BY minute) > 1
)

-- name: skip_minutes
UPDATE bar SET reason = 'archived' WHERE reason IS NULL AND minute >= $1 AND minute < $2

-- name: contradiction
SELECT minute, count(*) OVER (), list(DISTINCT file_index ORDER BY file_index)
FROM bar WHERE reason IS NULL AND position IN (SELECT position FROM shared)
GROUP BY minute HAVING count(DISTINCT (open, high, low, close, volume)) > 1
ORDER BY minute LIMIT 1

-- name: sort_bars
CREATE TABLE sorted_bar AS
SELECT row_number() OVER (ORDER BY minute) - 1 AS position, minute, open, high, low, close, volume
FROM bar WHERE reason IS NULL ORDER BY minute

-- name: view_bars
CREATE VIEW sorted_bar AS SELECT position, minute, open, high, low, close, volume FROM bar WHERE reason IS NULL

-- name: last_position
SELECT coalesce(max(position), -1) FROM sorted_bar

-- name: bar_block
SELECT minute, open, high, low, close, volume FROM sorted_bar WHERE position >= $1 AND position < $2 ORDER BY position

-- name: closes_between
SELECT minute, close FROM sorted_bar WHERE minute BETWEEN $1 AND $2 ORDER BY minute

-- name: quarantined_rows
-- At most so many rows of each file and reason: one damaged file must not fill the table.
SELECT file_index, source_row, reason,
    coalesce(raw, to_json({
        'opened': make_timestamp(minute::BIGINT * 60000000), 'open': open, 'high': high, 'low': low, 'close': close, 'volume': volume
    })::VARCHAR) AS raw
FROM bar WHERE reason IS NOT NULL AND reason NOT IN ('absent', 'repeated', 'archived')
QUALIFY row_number() OVER (PARTITION BY file_index, reason ORDER BY source_row) <= $1
ORDER BY file_index, source_row
