-- name: insert_score_run
INSERT INTO analytics.score_run (symbol, origin, scored_from, scored_until, plan, code_version, dagster_run_id)
VALUES (%(symbol)s, %(origin)s, %(scored_from)s, %(scored_until)s, %(plan)s, %(code_version)s, %(run_id)s)
RETURNING score_run_id

-- name: copy_scores_in
COPY analytics.score (
    score_run_id, model, dimension, level, n, mean_probability, happened, brier, log_loss, sharpness, skill, skill_low,
    skill_high, settlement
) FROM STDIN

-- name: previous_skills
SELECT score.model, score.skill
FROM analytics.score
JOIN analytics.score_run USING (score_run_id)
WHERE score_run.symbol = %(symbol)s AND score_run.origin = %(origin)s AND score.dimension = 'all'
    AND score.skill IS NOT NULL AND score_run.score_run_id = (
        SELECT max(score_run_id) FROM analytics.score_run AS earlier
        WHERE earlier.symbol = %(symbol)s AND earlier.origin = %(origin)s
            AND earlier.created_at <= clock_timestamp() - %(age)s::interval
    )

-- name: due_closes
-- Closes with unsettled answers, each with the ticks of its last 70 seconds. tick_source: NULL, any but replay.
SELECT due.market_close, due.settlement, due.tick_source, (extract(epoch FROM due.market_close) * 1000)::bigint AS close_ms,
    last_minute.ticked_ms, last_minute.prices_usd
FROM (
    SELECT DISTINCT market_close, settlement, CASE WHEN status = 'replay' THEN 'replay' ELSE nullif(source, 'external') END AS tick_source
    FROM live_data.answer
    WHERE symbol = %(symbol)s AND closing_price IS NULL AND market_close <= %(now)s
        AND answered_at > %(since)s AND answered_at < %(now)s
) AS due
CROSS JOIN LATERAL (
    SELECT array_agg((extract(epoch FROM ticked_at) * 1000)::bigint ORDER BY ticked_at) AS ticked_ms,
        array_agg(price ORDER BY ticked_at) AS prices_usd
    FROM live_data.price_log
    WHERE price_log.symbol = %(symbol)s AND ticked_at > due.market_close - interval '70 seconds' AND ticked_at <= due.market_close
        AND CASE WHEN due.tick_source IS NULL THEN price_log.source <> 'replay' ELSE price_log.source = due.tick_source END
) AS last_minute
WHERE last_minute.ticked_ms IS NOT NULL
ORDER BY due.market_close

-- name: settle_close
UPDATE live_data.answer SET closing_price = %(price_usd)s
WHERE symbol = %(symbol)s AND closing_price IS NULL AND market_close = %(market_close)s AND settlement = %(settlement)s
    AND answered_at > %(since)s AND answered_at < %(market_close)s
    AND CASE WHEN status = 'replay' THEN 'replay' ELSE nullif(source, 'external') END IS NOT DISTINCT FROM %(tick_source)s

-- name: settled_answers
SELECT settlement, model, extract(hour FROM answered_at AT TIME ZONE 'UTC')::integer, prob_beyond, happened
FROM live_data.answer_strike
WHERE symbol = %(symbol)s AND answered_at >= %(start)s AND answered_at < %(stop)s AND happened IS NOT NULL AND NOT replayed
ORDER BY settlement, model

-- name: answers_left_out
SELECT count(*) FILTER (WHERE replayed) AS replayed, count(*) FILTER (WHERE NOT replayed AND closing_price IS NULL) AS unsettled
FROM (
    SELECT closing_price, status = 'replay' OR coalesce(source = 'replay', false) AS replayed
    FROM live_data.answer WHERE symbol = %(symbol)s AND answered_at >= %(start)s AND answered_at < %(stop)s
) AS answer

-- name: scored_from
SELECT scored_from FROM analytics.score_run
WHERE symbol = %(symbol)s AND origin = 'live' AND scored_from >= %(since)s

-- name: score_runs
-- Of the newest runs, the scores over all cases.
SELECT score_run_id, symbol, origin, scored_from, scored_until, created_at, code_version, dagster_run_id, model, settlement, n,
    mean_probability, happened, brier, log_loss, skill, skill_low, skill_high
FROM (
    SELECT * FROM analytics.score_run
    WHERE %(symbol)s::text IS NULL OR symbol = %(symbol)s
    ORDER BY score_run_id DESC LIMIT %(most)s
) AS score_run
JOIN analytics.score USING (score_run_id)
WHERE dimension = 'all'
ORDER BY score_run_id DESC, skill DESC NULLS LAST, model, settlement
