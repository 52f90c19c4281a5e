SELECT version.generation, version.symbol, version.model, version.state = 'complete' AS complete,
    version.published_at IS NOT NULL AS published, active.generation IS NOT NULL AS active, version.created_at,
    coalesce(pg_total_relation_size(to_regclass('analytics.lookup_' || version.generation)), 0) AS bytes
FROM analytics.model_version AS version
LEFT JOIN analytics.active_generation AS active USING (generation)
WHERE version.pruned_at IS NULL
ORDER BY version.generation
