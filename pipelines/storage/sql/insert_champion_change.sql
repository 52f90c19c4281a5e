INSERT INTO analytics.champion_change (symbol, champion, challenger, reason, evidence, dagster_run_id)
VALUES (%(symbol)s, %(champion)s, %(challenger)s, %(reason)s, %(evidence)s, %(run_id)s)
