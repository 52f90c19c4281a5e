INSERT INTO refused
SELECT file_index, source_row, 'duplicate',
    to_json({'minute': make_timestamp(minute * 60000000), 'open': open, 'high': high, 'low': low, 'close': close, 'volume': volume})::VARCHAR
FROM bar
WHERE minute IN (SELECT minute FROM bar GROUP BY minute HAVING count(*) > 1)
QUALIFY row_number() OVER (PARTITION BY minute ORDER BY file_index DESC, source_row DESC) > 1
