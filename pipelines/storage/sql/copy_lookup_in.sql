COPY {table} (
    generation, ttc_seconds, momentum_bucket, n_eff, prob_within_positive_hundredths, prob_within_negative_hundredths
) FROM STDIN (FORMAT binary, FREEZE)
