COPY {table} (
    generation, ttc_seconds, bucket, n_eff, prob_within_positive_hundredths, prob_within_negative_hundredths, evidence_positive,
    evidence_negative
) FROM STDIN (FORMAT binary, FREEZE)
