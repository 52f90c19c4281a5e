-- name: copy_day_out
COPY (
    SELECT exchange, ticker, quoted_at, yes_bid, yes_bid_size, no_bid, no_bid_size, volume
    FROM {partition} JOIN market_data.market USING (market_id)
) TO STDOUT (FORMAT csv)

-- name: count_partition
SELECT count(*) FROM {partition}

-- name: ids_of_markets
SELECT market_id FROM market_data.market
WHERE closes_at >= %(since)s AND closes_at < %(until)s AND changed_at < %(unchanged_since)s ORDER BY market_id

-- name: copy_markets_out
COPY (
    SELECT exchange, ticker, event_ticker, series_ticker, symbol, settlement, strike_type, floor_strike, cap_strike, opens_at,
        closes_at, price_ranges, status, result, settlement_value, index_value,
        (SELECT jsonb_agg(to_jsonb(revision) - 'market_id' ORDER BY revised_at) FROM market_data.market_revision AS revision
            WHERE revision.market_id = market.market_id)
    FROM market_data.market WHERE market_id = ANY (%(markets)s)
) TO STDOUT (FORMAT csv)

-- name: copy_candles_out
-- In the columns of recordings: prices are cents.
COPY (
    SELECT exchange, ticker, ends_at, yes_bid_open * 100, yes_bid_high * 100, yes_bid_low * 100, yes_bid_close * 100,
        yes_ask_open * 100, yes_ask_high * 100, yes_ask_low * 100, yes_ask_close * 100, volume, open_interest
    FROM market_data.market_candle JOIN market_data.market USING (market_id)
    WHERE market_id = ANY (%(markets)s) AND NOT is_derived
) TO STDOUT (FORMAT csv)

-- name: set_utc
SET TimeZone = 'UTC'

-- name: create_quotes
CREATE TABLE day AS SELECT * FROM read_csv($path, header = false, auto_detect = false, columns = {
    'exchange': 'VARCHAR', 'ticker': 'VARCHAR', 'quoted_at': 'TIMESTAMPTZ', 'yes_bid_dollars': 'DECIMAL(18, 6)',
    'yes_bid_contracts': 'DECIMAL(18, 6)', 'no_bid_dollars': 'DECIMAL(18, 6)', 'no_bid_contracts': 'DECIMAL(18, 6)',
    'volume_contracts': 'DECIMAL(18, 6)'
})

-- name: create_markets
CREATE TABLE day AS SELECT * FROM read_csv($path, header = false, auto_detect = false, columns = {
    'exchange': 'VARCHAR', 'ticker': 'VARCHAR', 'event_ticker': 'VARCHAR', 'series_ticker': 'VARCHAR', 'symbol': 'VARCHAR',
    'settlement': 'VARCHAR', 'strike_type': 'VARCHAR', 'floor_strike': 'DECIMAL(38, 12)', 'cap_strike': 'DECIMAL(38, 12)',
    'opens_at': 'TIMESTAMPTZ', 'closes_at': 'TIMESTAMPTZ', 'price_ranges': 'VARCHAR', 'status': 'VARCHAR', 'result': 'VARCHAR',
    'settlement_value': 'DECIMAL(38, 12)', 'index_value': 'DECIMAL(38, 12)', 'revisions': 'VARCHAR'
})

-- name: create_candles
CREATE TABLE day AS SELECT * FROM read_csv($path, header = false, auto_detect = false, columns = {
    'exchange': 'VARCHAR', 'market_ticker': 'VARCHAR', 'ts': 'TIMESTAMPTZ', 'yes_bid_open_cents': 'DECIMAL(18, 6)',
    'yes_bid_high_cents': 'DECIMAL(18, 6)', 'yes_bid_low_cents': 'DECIMAL(18, 6)', 'yes_bid_close_cents': 'DECIMAL(18, 6)',
    'yes_ask_open_cents': 'DECIMAL(18, 6)', 'yes_ask_high_cents': 'DECIMAL(18, 6)', 'yes_ask_low_cents': 'DECIMAL(18, 6)',
    'yes_ask_close_cents': 'DECIMAL(18, 6)', 'volume': 'DECIMAL(18, 6)', 'open_interest': 'DECIMAL(18, 6)'
})

-- name: count_day
SELECT count(*) FROM day

-- name: exchanges
SELECT DISTINCT exchange FROM day ORDER BY exchange

-- name: create_merged
CREATE OR REPLACE TABLE merged AS SELECT * FROM day WHERE exchange = $exchange

-- name: add_archived_quotes
INSERT INTO merged SELECT archived.* FROM read_parquet($path) AS archived ANTI JOIN merged USING (ticker, quoted_at)

-- name: add_archived_markets
INSERT INTO merged SELECT archived.* FROM read_parquet($path) AS archived ANTI JOIN merged USING (ticker)

-- name: add_archived_candles
INSERT INTO merged SELECT archived.* FROM read_parquet($path) AS archived ANTI JOIN merged USING (market_ticker, ts)

-- name: quotes_in_order
SELECT * FROM merged ORDER BY ticker, quoted_at

-- name: markets_in_order
SELECT * FROM merged ORDER BY ticker

-- name: candles_in_order
SELECT * FROM merged ORDER BY market_ticker, ts

-- name: count_merged
SELECT count(*) FROM merged

-- name: count_differences
SELECT count(*) FROM (
    (SELECT * FROM merged EXCEPT ALL SELECT * FROM read_parquet($path))
    UNION ALL
    (SELECT * FROM read_parquet($path) EXCEPT ALL SELECT * FROM merged)
)
