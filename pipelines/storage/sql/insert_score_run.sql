INSERT INTO analytics.score_run (symbol, origin, scored_from, scored_until, plan, code_version, dagster_run_id)
VALUES (%(symbol)s, %(origin)s, %(scored_from)s, %(scored_until)s, %(plan)s, %(code_version)s, %(run_id)s)
RETURNING score_run_id
