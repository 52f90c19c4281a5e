ALTER TABLE market_data.market ADD COLUMN candles_fetched_at timestamptz;
COMMENT ON COLUMN market_data.market.candles_fetched_at IS 'When the exchange last gave the candles of its last hour after its close, UTC; NULL before.';
GRANT UPDATE (candles_fetched_at) ON market_data.market TO strikecast_pipeline;
