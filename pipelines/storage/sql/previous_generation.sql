SELECT max(version.generation)
FROM analytics.active_generation AS active
JOIN analytics.model_version AS version
    ON version.symbol = active.symbol AND version.model = active.model AND version.generation < active.generation
WHERE active.symbol = %s AND active.model = %s AND version.state = 'complete' AND version.published_at IS NOT NULL
    AND to_regclass('analytics.lookup_' || version.generation) IS NOT NULL
