SELECT champion.symbol, active.generation
FROM analytics.champion
JOIN analytics.active_generation AS active ON active.symbol = champion.symbol AND active.model = champion.champion
WHERE champion.symbol = ANY (%s)
