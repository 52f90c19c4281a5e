-- name: insert_score_run
INSERT INTO analytics.score_run (symbol, origin, scored_from, scored_until, plan, code_version, dagster_run_id)
VALUES (%(symbol)s, %(origin)s, %(scored_from)s, %(scored_until)s, %(plan)s, %(code_version)s, %(run_id)s)
RETURNING score_run_id

-- name: copy_scores_in
COPY analytics.score (
    score_run_id, model, dimension, level, n, mean_probability, happened, brier, log_loss, sharpness, skill, skill_low,
    skill_high
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

-- name: settle_answers
WITH due AS (
    SELECT DISTINCT market_close FROM live_data.answer
    WHERE symbol = %(symbol)s AND closing_price IS NULL AND market_close <= %(now)s
        AND answered_at > %(now)s - interval '8 days'
), closed AS (
    SELECT due.market_close, newest.price
    FROM due
    CROSS JOIN LATERAL (
        SELECT price FROM live_data.price_log
        WHERE price_log.symbol = %(symbol)s AND ticked_at <= due.market_close
            AND ticked_at > due.market_close - interval '90 seconds'
        ORDER BY ticked_at DESC LIMIT 1
    ) AS newest
)
UPDATE live_data.answer SET closing_price = closed.price
FROM closed
WHERE answer.symbol = %(symbol)s AND answer.closing_price IS NULL AND answer.market_close = closed.market_close
    AND answer.answered_at > %(now)s - interval '8 days' AND answer.answered_at < %(now)s

-- name: settled_answers
SELECT model, extract(hour FROM answered_at AT TIME ZONE 'UTC')::integer, prob_beyond, happened
FROM live_data.answer_strike
WHERE symbol = %s AND answered_at >= %s AND answered_at < %s AND happened IS NOT NULL
ORDER BY model

-- name: score_runs
-- Of the newest runs, the scores over all cases.
SELECT score_run_id, symbol, origin, scored_from, scored_until, created_at, code_version, dagster_run_id, model, n,
    mean_probability, happened, brier, log_loss, skill, skill_low, skill_high
FROM (
    SELECT * FROM analytics.score_run
    WHERE %(symbol)s::text IS NULL OR symbol = %(symbol)s
    ORDER BY score_run_id DESC LIMIT %(most)s
) AS score_run
JOIN analytics.score USING (score_run_id)
WHERE dimension = 'all'
ORDER BY score_run_id DESC, skill DESC NULLS LAST, model
