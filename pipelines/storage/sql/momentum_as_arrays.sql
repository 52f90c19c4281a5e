SELECT array_agg(opened_at), array_agg(momentum_score_pct), array_agg(momentum_bucket)
FROM (
    SELECT opened_at, momentum_score_pct, momentum_bucket FROM historical_data.momentum WHERE symbol = %s ORDER BY opened_at
) AS scored
