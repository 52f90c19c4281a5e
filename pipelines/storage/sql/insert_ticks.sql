INSERT INTO live_data.price_log (
    symbol, ticked_at, price, source, mean_1m, momentum_score,
    delta_1m, delta_2m, delta_3m, delta_4m, delta_15m, delta_30m, missing_lags
)
SELECT tick.symbol, tick.ticked_at, tick.price, %(source)s, tick.mean_1m, tick.momentum_score,
    tick.delta_1m, tick.delta_2m, tick.delta_3m, tick.delta_4m, tick.delta_15m, tick.delta_30m, tick.missing_lags::smallint[]
FROM unnest(
    %(symbol)s::text[], %(ticked_at)s::timestamptz[], %(price)s::float8[], %(mean_1m)s::float8[],
    %(momentum_score)s::float8[], %(delta_1m)s::float8[], %(delta_2m)s::float8[], %(delta_3m)s::float8[],
    %(delta_4m)s::float8[], %(delta_15m)s::float8[], %(delta_30m)s::float8[], %(missing_lags)s::text[]
) AS tick (
    symbol, ticked_at, price, mean_1m, momentum_score, delta_1m, delta_2m, delta_3m, delta_4m, delta_15m, delta_30m,
    missing_lags
)
ON CONFLICT (symbol, ticked_at) DO NOTHING
