INSERT INTO analytics.model_version (
    symbol, model, profile, origin, config, move_thresholds_bps, ttc_step_seconds, ttc_max_seconds, move_step_bps,
    move_max_bps, bucket_limit, code_version, first_bar_at, last_bar_at, bar_count, dagster_run_id
) VALUES (
    %(symbol)s, %(model)s, %(profile)s, %(origin)s, %(config)s, %(move_thresholds_bps)s, %(ttc_step_seconds)s,
    %(ttc_max_seconds)s, %(move_step_bps)s, %(move_max_bps)s, %(bucket_limit)s, %(code_version)s, %(first_bar_at)s,
    %(last_bar_at)s, %(bar_count)s, %(dagster_run_id)s
)
RETURNING generation
