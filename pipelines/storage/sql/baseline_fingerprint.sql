SELECT bucket, ttc_minutes, positive, negative, n, n_eff, evidence_positive, evidence_negative
FROM analytics.fingerprint WHERE generation = %s AND bucket IS NULL
ORDER BY ttc_minutes
