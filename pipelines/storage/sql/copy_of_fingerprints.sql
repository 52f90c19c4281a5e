INSERT INTO analytics.fingerprint (generation, momentum_bucket, ttc_minutes, positive, negative, n, n_eff)
SELECT %(copy)s, momentum_bucket, ttc_minutes, positive, negative, n, n_eff
FROM analytics.fingerprint WHERE generation = %(generation)s
