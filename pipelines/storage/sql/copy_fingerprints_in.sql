COPY analytics.fingerprint (
    generation, bucket, ttc_minutes, positive, negative, n, n_eff, evidence_positive, evidence_negative
) FROM STDIN (FORMAT binary)
