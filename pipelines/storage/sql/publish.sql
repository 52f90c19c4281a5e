INSERT INTO analytics.active_generation AS active (symbol, model, generation)
SELECT symbol, model, generation FROM analytics.model_version
WHERE generation = %s AND state = 'complete' AND lookup_rows IS NOT NULL
ON CONFLICT (symbol, model) DO UPDATE SET generation = excluded.generation, published_at = clock_timestamp()
RETURNING generation
