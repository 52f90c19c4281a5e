SELECT generation, symbol, model, profile, origin, state, config, move_thresholds_bps, ttc_step_seconds, ttc_max_seconds,
    move_step_bps, move_max_bps, bucket_limit, code_version, first_bar_at, last_bar_at, bar_count, fingerprint_rows,
    lookup_rows, lookup_sha256, created_at, completed_at, published_at
FROM analytics.model_version WHERE generation = %s
