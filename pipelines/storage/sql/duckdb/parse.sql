CREATE OR REPLACE TEMP TABLE parsed AS
WITH typed AS (
    SELECT
        source_row,
        malformed,
        line,
        -- PostgreSQL's jsonb holds no NUL.
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
judged AS (
    SELECT
        *,
        CASE
            WHEN malformed THEN 'malformed'
            WHEN opened_us IS NULL THEN 'bad_time'
            -- Bitcoin's first block, 2009-01-03: nothing this system serves traded before.
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
FROM judged
