COPY analytics.fingerprint (generation, momentum_bucket, ttc_minutes, positive, negative, n, n_eff) FROM STDIN
