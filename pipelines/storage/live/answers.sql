-- name: answer_of_minute
SELECT answered_at, market_close, ttc_seconds, price, model, generation, bucket, sigma_pct, strikes, prob_beyond, status,
    closing_price, settlement, basis_bps, source
FROM live_data.answer
WHERE symbol = %(symbol)s AND answered_at >= %(minute)s AND answered_at < %(minute)s::timestamptz + interval '1 minute'
ORDER BY answered_at LIMIT 1

-- name: answer_days
SELECT DISTINCT (answered_at AT TIME ZONE 'UTC')::date
FROM live_data.answer WHERE symbol = %(symbol)s AND answered_at >= %(since)s AND answered_at < %(until)s
ORDER BY 1

-- name: outcomes
SELECT answer.symbol, answer.answered_at, answer.market_close, answer.ttc_seconds, answer.price, answer.model,
    answer.generation, answer.bucket, answer.sigma_pct, answer.status, cell.strike,
    CASE WHEN cell.prob_beyond <> 'NaN' THEN round(cell.prob_beyond::numeric, 2)::float8 END AS prob_beyond,
    CASE
        WHEN cell.prob_beyond = 'NaN' THEN NULL
        WHEN cell.strike > answer.price THEN round(cell.prob_beyond::numeric, 2)::float8
        ELSE 100 - round(cell.prob_beyond::numeric, 2)::float8
    END AS at_or_above,
    closed.price AS closing_price,
    closed.price * exp(coalesce(answer.basis_bps, 0) / 10000) >= cell.strike AS closed_at_or_above,
    answer.settlement, answer.basis_bps, answer.source
FROM live_data.answer
CROSS JOIN LATERAL unnest(answer.strikes, answer.prob_beyond) AS cell (strike, prob_beyond)
LEFT JOIN historical_data.price_history AS bar
    ON bar.symbol = answer.symbol AND bar.opened_at = answer.market_close - interval '1 minute'
    AND answer.settlement = 'last_price' AND answer.status <> 'replay' AND answer.source IS DISTINCT FROM 'replay'
CROSS JOIN LATERAL (SELECT coalesce(answer.closing_price, bar.close) AS price) AS closed
WHERE answer.symbol = %(symbol)s AND answer.answered_at >= %(since)s AND answer.answered_at < %(until)s
ORDER BY answer.answered_at, cell.strike

-- name: last_minute
SELECT ticked_at, price FROM live_data.price_log
WHERE symbol = %(symbol)s AND ticked_at > %(market_close)s::timestamptz - interval '70 seconds' AND ticked_at <= %(market_close)s
    AND CASE WHEN %(tick_source)s::text IS NULL THEN source <> 'replay' ELSE source = %(tick_source)s END
ORDER BY ticked_at
