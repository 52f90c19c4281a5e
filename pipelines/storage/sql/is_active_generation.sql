SELECT 1 FROM analytics.active_generation WHERE generation = %s
