-- name: champion
SELECT symbol, champion, challenger, since, reason FROM analytics.champion WHERE symbol = %s

-- name: champion_generations
SELECT champion.symbol, active.generation
FROM analytics.champion
JOIN analytics.active_generation AS active ON active.symbol = champion.symbol AND active.model = champion.champion
WHERE champion.symbol = ANY (%s)

-- name: insert_champion_change
INSERT INTO analytics.champion_change (symbol, champion, challenger, reason, evidence, dagster_run_id)
VALUES (%(symbol)s, %(champion)s, %(challenger)s, %(reason)s, %(evidence)s, %(run_id)s)
