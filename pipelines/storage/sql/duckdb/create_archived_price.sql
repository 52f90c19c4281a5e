CREATE TABLE archived_price AS
SELECT upper(parse_path(filename)[-2]) AS symbol, timestamp AS opened_at, open, high, low, close, volume
FROM read_parquet($files, filename = true)
