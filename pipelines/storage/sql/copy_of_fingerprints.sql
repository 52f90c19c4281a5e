INSERT INTO analytics.fingerprint (generation, bucket, ttc_minutes, positive, negative, n, n_eff, evidence_positive, evidence_negative)
SELECT %(copy)s, bucket, ttc_minutes, positive, negative, n, n_eff, evidence_positive, evidence_negative
FROM analytics.fingerprint WHERE generation = %(generation)s
