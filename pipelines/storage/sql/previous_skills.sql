SELECT score.model, score.skill
FROM analytics.score
JOIN analytics.score_run USING (score_run_id)
WHERE score_run.symbol = %(symbol)s AND score_run.origin = %(origin)s AND score.dimension = 'all'
    AND score.skill IS NOT NULL AND score_run.score_run_id = (
        SELECT max(score_run_id) FROM analytics.score_run AS earlier
        WHERE earlier.symbol = %(symbol)s AND earlier.origin = %(origin)s
            AND earlier.created_at <= clock_timestamp() - %(age)s::interval
    )
