-- name: set_notation
SET VARIABLE notation = $1

-- name: set_day
SET VARIABLE day_us = $1

-- name: number_columns
CREATE OR REPLACE TEMP VIEW source AS SELECT row_number() OVER () AS source_row, * FROM selected_columns

-- name: join_clock
CREATE OR REPLACE TEMP VIEW joined AS SELECT * REPLACE (opened || ' ' || clock AS opened) FROM source

-- name: keep_clock
CREATE OR REPLACE TEMP VIEW joined AS SELECT * FROM source

-- name: time_of_epoch
-- The unit is decided row by row: exchanges have changed it within a file. 0 to 3 are seconds to nanoseconds.
CREATE OR REPLACE TEMP VIEW timed AS
WITH number AS (SELECT *, TRY_CAST(opened AS DOUBLE) AS number FROM joined),
scaled AS (SELECT *, CASE WHEN number < 1e11 THEN 0 WHEN number < 1e14 THEN 1 WHEN number < 1e17 THEN 2 ELSE 3 END AS unit FROM number)
SELECT *,
    TRY_CAST(CASE unit WHEN 0 THEN number * 1e6 WHEN 1 THEN number * 1e3 WHEN 2 THEN number ELSE number / 1e3 END AS BIGINT) AS opened_us
FROM scaled

-- name: time_of_text
CREATE OR REPLACE TEMP VIEW timed AS
SELECT *, NULL AS unit, epoch_us(try_strptime(trim(opened), getvariable('notation'))) AS opened_us FROM joined

-- name: time_of_iso
CREATE OR REPLACE TEMP VIEW timed AS SELECT *, NULL AS unit, epoch_us(TRY_CAST(opened AS TIMESTAMPTZ)) AS opened_us FROM joined

-- name: time_of_midnight
CREATE OR REPLACE TEMP VIEW timed AS
SELECT *, NULL AS unit,
    CASE WHEN TRY_CAST(opened AS BIGINT) BETWEEN 0 AND 86399999 THEN getvariable('day_us') + TRY_CAST(opened AS BIGINT) * 1000 END AS opened_us
FROM joined

-- name: create_missing
-- NULL, NaN or a text for it; a text that is no number is not missing.
CREATE OR REPLACE TEMP MACRO missing(text, number) AS text IS NULL OR coalesce(isnan(number), false)

-- name: numbers_plain
CREATE OR REPLACE TEMP VIEW numbered AS
WITH cast_numbers AS (
    SELECT *, TRY_CAST(open AS DOUBLE) AS o, TRY_CAST(high AS DOUBLE) AS h, TRY_CAST(low AS DOUBLE) AS l,
        TRY_CAST(close AS DOUBLE) AS c, TRY_CAST(volume AS DOUBLE) AS v
    FROM timed
)
SELECT * REPLACE (o AS open, h AS high, l AS low, c AS close, v AS volume),
    missing(open, o) AND missing(high, h) AND missing(low, l) AND missing(close, c) AND (missing(volume, v) OR v = 0) AS absent
FROM cast_numbers

-- name: create_grouped_point
-- 42,256.42 and 42'256.42: thousands in groups of three only, otherwise the text is not a number.
CREATE OR REPLACE TEMP MACRO grouped(text) AS CASE
    WHEN regexp_full_match(trim(text), '[-+]?(\d{1,3}([, \x{00A0}\x{202F}''\x{2019}]\d{3})+|\d+)(\.\d*)?([eE][-+]?\d+)?')
        THEN TRY_CAST(regexp_replace(text, '[, \x{00A0}\x{202F}''\x{2019}]', '', 'g') AS DOUBLE)
END

-- name: create_grouped_comma
-- 42.256,42 and 42 256,42.
CREATE OR REPLACE TEMP MACRO grouped(text) AS CASE
    WHEN regexp_full_match(trim(text), '[-+]?(\d{1,3}([. \x{00A0}\x{202F}''\x{2019}]\d{3})+|\d+)(,\d*)?([eE][-+]?\d+)?')
        THEN TRY_CAST(replace(regexp_replace(text, '[. \x{00A0}\x{202F}''\x{2019}]', '', 'g'), ',', '.') AS DOUBLE)
END

-- name: numbers_grouped
CREATE OR REPLACE TEMP VIEW numbered AS
SELECT * REPLACE (
    grouped(open) AS open, grouped(high) AS high, grouped(low) AS low, grouped(close) AS close, grouped(volume) AS volume
),
    open IS NULL AND high IS NULL AND low IS NULL AND close IS NULL AND (volume IS NULL OR grouped(volume) = 0) AS absent
FROM timed

-- name: materialize_source
CREATE OR REPLACE TEMP TABLE raw_source AS SELECT * FROM selected_columns

-- name: count_valid
SELECT coalesce(count_if(high >= greatest(open, close, low) AND low <= least(open, close)), 0) FROM numbered

-- name: count_timed
SELECT count(opened_us) FROM timed

-- name: distinct_symbols
SELECT DISTINCT symbol::VARCHAR AS symbol FROM selected_columns WHERE symbol IS NOT NULL ORDER BY 1 LIMIT 6
