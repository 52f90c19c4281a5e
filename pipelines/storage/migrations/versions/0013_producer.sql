GRANT USAGE ON SCHEMA live_data TO strikecast_producer;
GRANT INSERT (symbol, ticked_at, price, source) ON live_data.price_log TO strikecast_producer;

-- The time of receipt is the server's: it shows which prices were dated ahead.
REVOKE INSERT ON live_data.price_log FROM strikecast_live;
GRANT INSERT (
    symbol, ticked_at, price, source, mean_1m, momentum_score,
    delta_1m, delta_2m, delta_3m, delta_4m, delta_15m, delta_30m, missing_lags
) ON live_data.price_log TO strikecast_live;
