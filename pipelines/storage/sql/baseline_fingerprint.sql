SELECT momentum_bucket, ttc_minutes, positive, negative, n, n_eff
FROM analytics.fingerprint WHERE generation = %s AND momentum_bucket IS NULL
ORDER BY ttc_minutes
