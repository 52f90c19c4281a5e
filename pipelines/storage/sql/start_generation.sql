INSERT INTO analytics.model_version (
    symbol, model, profile, origin, config, nodes, ttc_step_seconds, ttc_max_seconds, axis, axis_step, axis_max,
    evidence_step, buckets, borrowed_from, code_version, first_bar_at, last_bar_at, bar_count, dagster_run_id
) VALUES (
    %(symbol)s, %(model)s, %(profile)s, %(origin)s, %(config)s, %(nodes)s, %(ttc_step_seconds)s, %(ttc_max_seconds)s,
    %(axis)s, %(axis_step)s, %(axis_max)s, %(evidence_step)s, %(buckets)s, %(borrowed_from)s, %(code_version)s,
    %(first_bar_at)s, %(last_bar_at)s, %(bar_count)s, %(dagster_run_id)s
)
RETURNING generation
