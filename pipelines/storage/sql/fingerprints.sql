SELECT bucket, ttc_minutes, positive, negative, n, n_eff, evidence_positive, evidence_negative
FROM analytics.fingerprint WHERE generation = %s
ORDER BY bucket NULLS FIRST, ttc_minutes
