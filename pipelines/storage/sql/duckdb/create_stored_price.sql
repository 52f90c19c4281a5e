CREATE TABLE stored_price AS
SELECT * FROM read_csv($path, header = false, columns = {
    'symbol': 'VARCHAR', 'opened_at': 'TIMESTAMPTZ', 'open': 'DOUBLE', 'high': 'DOUBLE', 'low': 'DOUBLE', 'close': 'DOUBLE',
    'volume': 'DOUBLE'
})
