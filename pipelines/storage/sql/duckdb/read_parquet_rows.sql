CREATE OR REPLACE TEMP VIEW raw_parquet AS
SELECT row_number() OVER () AS source_row, false AS malformed, NULL::VARCHAR AS line, opened, open, high, low, close, volume
FROM picked
