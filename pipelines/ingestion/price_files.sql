-- name: set_utc
SET TimeZone = 'UTC'

-- name: create_bar
CREATE TABLE bar (
    minute BIGINT, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE, file_index INTEGER, source_row BIGINT
)

-- name: create_quarantined
CREATE TABLE quarantined (file_index INTEGER, source_row BIGINT, reason VARCHAR, raw VARCHAR)

-- name: read_csv_lines
-- Reads lines and splits them here rather than in the CSV reader: a malformed line is one quarantined row with its right
-- number, and an unclosed quote does not swallow the lines after it. Prices contain no delimiter within quotes.
CREATE OR REPLACE TEMP TABLE raw_csv AS
WITH numbered AS (
    SELECT row_number() OVER () - $header_lines AS source_row, line
    FROM read_csv(
        $path, delim = chr(31) || chr(30) || chr(31), quote = '', escape = '', header = false, auto_detect = false, compression = 'none',
        columns = {'line': 'VARCHAR'}, strict_mode = false
    )
),
split AS (
    SELECT source_row, line, string_split(line, $delimiter) AS field FROM numbered
    WHERE source_row > 0 AND trim(line, chr(13) || chr(9) || ' ') <> ''
)
SELECT source_row,
    len(field) <> $width AS malformed,
    line,
    trim(field[$opened], $padding) AS opened,
    trim(field[$open], $padding) AS open,
    trim(field[$high], $padding) AS high,
    trim(field[$low], $padding) AS low,
    trim(field[$close], $padding) AS close,
    trim(field[$volume], $padding) AS volume
FROM split

-- name: number_rows
CREATE OR REPLACE TEMP VIEW raw_columns AS
SELECT row_number() OVER () AS source_row, false AS malformed, NULL::VARCHAR AS line, opened, open, high, low, close, volume
FROM selected_columns

-- name: median_time
-- Type of the time column, and the median of its numbers if more than half of the first 1000 rows are numbers.
SELECT any_value(typeof(opened)), CASE WHEN count(number) * 2 > count(*) THEN median(number) END
FROM (SELECT opened, TRY_CAST(opened::VARCHAR AS DOUBLE) AS number FROM query_table($source) LIMIT 1000)

-- name: parse
CREATE OR REPLACE TEMP TABLE parsed AS
WITH typed AS (
    SELECT
        source_row,
        malformed,
        line,
        -- jsonb cannot store NUL characters.
        {
            'opened': replace(opened::VARCHAR, chr(0), ''), 'open': replace(open::VARCHAR, chr(0), ''),
            'high': replace(high::VARCHAR, chr(0), ''), 'low': replace(low::VARCHAR, chr(0), ''),
            'close': replace(close::VARCHAR, chr(0), ''), 'volume': replace(volume::VARCHAR, chr(0), '')
        } AS row_raw,
        CASE
            WHEN $us_per_unit IS NULL THEN epoch_us(TRY_CAST(opened AS TIMESTAMPTZ))
            ELSE TRY_CAST(round(TRY_CAST(opened::VARCHAR AS DOUBLE) * $us_per_unit) AS BIGINT)
        END AS opened_us,
        TRY_CAST(open AS DOUBLE) AS open,
        TRY_CAST(high AS DOUBLE) AS high,
        TRY_CAST(low AS DOUBLE) AS low,
        TRY_CAST(close AS DOUBLE) AS close,
        TRY_CAST(volume AS DOUBLE) AS volume
    FROM query_table($source)
),
validated AS (
    SELECT
        *,
        CASE
            WHEN malformed THEN 'malformed'
            WHEN opened_us IS NULL THEN 'bad_time'
            -- 2009-01-03, Bitcoin's first block: no supported asset traded before.
            WHEN opened_us < 1230940800000000 THEN 'implausible_time'
            WHEN opened_us > $now_us THEN 'future'
            WHEN opened_us + 60000000 > $now_us THEN 'still_forming'
            WHEN opened_us % 60000000 <> 0 THEN 'off_minute'
            WHEN open IS NULL OR high IS NULL OR low IS NULL OR close IS NULL OR volume IS NULL
                OR NOT (isfinite(open) AND isfinite(high) AND isfinite(low) AND isfinite(close) AND isfinite(volume))
                THEN 'not_a_number'
            WHEN least(open, high, low, close) <= 0 OR volume < 0 THEN 'not_positive'
            WHEN high < greatest(open, close, low) OR low > least(open, close) THEN 'bad_ohlc'
        END AS reason
    FROM typed
)
SELECT
    source_row, opened_us // 60000000 AS minute, open, high, low, close, volume, reason,
    CASE
        WHEN reason = 'malformed' THEN to_json({'text': replace(line, chr(0), '')})::VARCHAR
        WHEN reason IS NOT NULL THEN to_json(row_raw)::VARCHAR
    END AS raw
FROM validated

-- name: insert_bars
INSERT INTO bar SELECT minute, open, high, low, close, volume, $1, source_row FROM parsed WHERE reason IS NULL

-- name: insert_quarantined
INSERT INTO quarantined SELECT $1, source_row, reason, raw FROM parsed WHERE reason IS NOT NULL

-- name: quarantine_duplicates
INSERT INTO quarantined
SELECT file_index, source_row, 'duplicate',
    to_json({'minute': make_timestamp(minute * 60000000), 'open': open, 'high': high, 'low': low, 'close': close, 'volume': volume})::VARCHAR
FROM bar
WHERE minute IN (SELECT minute FROM bar GROUP BY minute HAVING count(*) > 1)
QUALIFY row_number() OVER (PARTITION BY minute ORDER BY file_index DESC, source_row DESC) > 1

-- name: sort_bars
CREATE TABLE sorted_bar AS
SELECT row_number() OVER (ORDER BY minute) - 1 AS "position", minute, open, high, low, close, volume
FROM bar
WHERE NOT EXISTS (
    SELECT 1 FROM quarantined
    WHERE quarantined.reason = 'duplicate'
        AND quarantined.file_index = bar.file_index AND quarantined.source_row = bar.source_row
)
ORDER BY minute

-- name: count_parsed
SELECT count(*) FROM parsed

-- name: count_bars
SELECT count(*) FROM sorted_bar

-- name: count_quarantined
SELECT count(*) FROM quarantined

-- name: bar_block
SELECT minute, open, high, low, close, volume FROM sorted_bar WHERE position >= $1 AND position < $2 ORDER BY position

-- name: quarantined_rows
SELECT file_index, source_row, reason, raw FROM quarantined ORDER BY file_index, source_row

-- name: quarantined_reasons
SELECT reason, count(*) FROM quarantined GROUP BY reason ORDER BY reason
