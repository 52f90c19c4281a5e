SELECT momentum_bucket, ttc_minutes, positive, negative, n, n_eff
FROM analytics.fingerprint WHERE generation = %s
ORDER BY momentum_bucket NULLS FIRST, ttc_minutes
