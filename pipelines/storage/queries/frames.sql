-- name: bars
SELECT opened_at, open, high, low, close, volume, archived FROM price
WHERE symbol = {symbol} AND opened_at >= {since} AND opened_at < {until} ORDER BY opened_at

-- name: scores
SELECT score_run_id, symbol, origin, scored_from, scored_until, created_at, model, settlement, dimension, level, n, mean_probability,
    happened, brier, log_loss, sharpness, skill, skill_low, skill_high
FROM analytics.score JOIN analytics.score_run USING (score_run_id)
WHERE symbol = {symbol} AND dimension = {dimension} ORDER BY score_run_id, model, settlement, level
