INSERT INTO analytics.model_version (
    symbol, model, profile, origin, config, nodes, ttc_step_seconds, ttc_max_seconds, axis_step,
    axis_max, axis, evidence_step, buckets, borrowed_from, code_version, first_bar_at, last_bar_at, bar_count, fingerprint_rows, dagster_run_id
)
SELECT symbol, model, profile, origin, config, nodes, ttc_step_seconds, ttc_max_seconds, axis_step,
    axis_max, axis, evidence_step, buckets, borrowed_from, %(code_version)s, first_bar_at, last_bar_at, bar_count, fingerprint_rows, %(dagster_run_id)s
FROM analytics.model_version
WHERE generation = %(generation)s
RETURNING generation
