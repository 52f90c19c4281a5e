INSERT INTO analytics.model_version (
    symbol, model, profile, origin, config, move_thresholds_bps, ttc_step_seconds, ttc_max_seconds, move_step_bps,
    move_max_bps, bucket_limit, code_version, first_bar_at, last_bar_at, bar_count, fingerprint_rows, dagster_run_id
)
SELECT symbol, model, profile, origin, config, move_thresholds_bps, ttc_step_seconds, ttc_max_seconds, move_step_bps,
    move_max_bps, bucket_limit, %(code_version)s, first_bar_at, last_bar_at, bar_count, fingerprint_rows, %(dagster_run_id)s
FROM analytics.model_version
WHERE generation = %(generation)s
RETURNING generation
