SELECT generation, symbol, model, profile, origin, state, config, nodes, ttc_step_seconds, ttc_max_seconds,
    axis_step, axis_max, axis, evidence_step, buckets, borrowed_from, code_version, first_bar_at, last_bar_at, bar_count, fingerprint_rows,
    lookup_rows, lookup_sha256, created_at, completed_at, published_at
FROM analytics.model_version WHERE generation = %s
