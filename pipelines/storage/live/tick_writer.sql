-- name: insert_ticks
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

-- name: describe_ticks
UPDATE live_data.price_log
SET mean_1m = tick.mean_1m, momentum_score = tick.momentum_score, delta_1m = tick.delta_1m, delta_2m = tick.delta_2m,
    delta_3m = tick.delta_3m, delta_4m = tick.delta_4m, delta_15m = tick.delta_15m, delta_30m = tick.delta_30m,
    missing_lags = tick.missing_lags::smallint[]
FROM unnest(
    %(symbol)s::text[], %(ticked_at)s::timestamptz[], %(price)s::float8[], %(mean_1m)s::float8[],
    %(momentum_score)s::float8[], %(delta_1m)s::float8[], %(delta_2m)s::float8[], %(delta_3m)s::float8[],
    %(delta_4m)s::float8[], %(delta_15m)s::float8[], %(delta_30m)s::float8[], %(missing_lags)s::text[]
) AS tick (
    symbol, ticked_at, price, mean_1m, momentum_score, delta_1m, delta_2m, delta_3m, delta_4m, delta_15m, delta_30m,
    missing_lags
)
WHERE price_log.symbol = tick.symbol AND price_log.ticked_at = tick.ticked_at AND price_log.missing_lags IS NULL

-- name: insert_answer
INSERT INTO live_data.answer (
    symbol, answered_at, market_close, ttc_seconds, price, model, generation, bucket, sigma_pct, strikes, prob_beyond,
    status, settlement, basis_bps, source
) VALUES (
    %(symbol)s, %(answered_at)s, %(market_close)s, %(ttc_seconds)s, %(price)s, %(model)s, %(generation)s, %(bucket)s,
    %(sigma_pct)s, %(strikes)s, %(prob_beyond)s, %(status)s, %(settlement)s, %(basis_bps)s,
    %(source)s
)
ON CONFLICT (symbol, answered_at) DO NOTHING
