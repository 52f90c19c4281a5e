-- name: active_generation
SELECT generation FROM analytics.active_generation WHERE symbol = %s AND model = %s

-- name: latest_generation
SELECT max(generation) FROM analytics.model_version
WHERE symbol = %s AND model = %s AND origin = 'built' AND fingerprint_rows IS NOT NULL AND state <> 'rejected' AND pruned_at IS NULL

-- name: previous_generation
SELECT max(version.generation)
FROM analytics.active_generation AS active
JOIN analytics.model_version AS version
    ON version.symbol = active.symbol AND version.model = active.model AND version.generation < active.generation
WHERE active.symbol = %s AND active.model = %s AND version.state = 'complete' AND version.published_at IS NOT NULL
    AND to_regclass('analytics.lookup_' || version.generation) IS NOT NULL

-- name: model_version
SELECT generation, symbol, model, profile, origin, state, config, nodes, ttc_step_seconds, ttc_max_seconds,
    axis_step, axis_max, axis, evidence_step AS uncertainty_step, buckets, borrowed_from, code_version, first_bar_at, last_bar_at,
    bar_count, fingerprint_rows, lookup_rows, lookup_sha256, created_at, completed_at, published_at
FROM analytics.model_version WHERE generation = %s

-- name: start_generation
INSERT INTO analytics.model_version (
    symbol, model, profile, origin, config, nodes, ttc_step_seconds, ttc_max_seconds, axis, axis_step, axis_max,
    evidence_step, buckets, borrowed_from, code_version, first_bar_at, last_bar_at, bar_count, dagster_run_id
) VALUES (
    %(symbol)s, %(model)s, %(profile)s, %(origin)s, %(config)s, %(nodes)s, %(ttc_step_seconds)s, %(ttc_max_seconds)s,
    %(axis)s, %(axis_step)s, %(axis_max)s, %(evidence_step)s, %(buckets)s, %(borrowed_from)s, %(code_version)s,
    %(first_bar_at)s, %(last_bar_at)s, %(bar_count)s, %(dagster_run_id)s
)
RETURNING generation

-- name: finish_generation
UPDATE analytics.model_version SET state = %(state)s, completed_at = clock_timestamp()
WHERE generation = %(generation)s AND state = 'building'

-- name: lookup_readers
SELECT virtualtransaction FROM pg_locks
WHERE relation = 'analytics.lookup'::regclass AND mode = 'AccessShareLock' AND pid <> pg_backend_pid()

-- name: publish
INSERT INTO analytics.active_generation AS active (symbol, model, generation)
SELECT symbol, model, generation FROM analytics.model_version
WHERE generation = %s AND state = 'complete' AND lookup_rows IS NOT NULL
ON CONFLICT (symbol, model) DO UPDATE SET generation = excluded.generation, published_at = clock_timestamp()
RETURNING generation

-- name: record_publication
UPDATE analytics.model_version SET published_at = clock_timestamp() WHERE generation = %s AND published_at IS NULL

-- name: copy_of_generation
INSERT INTO analytics.model_version (
    symbol, model, profile, origin, config, nodes, ttc_step_seconds, ttc_max_seconds, axis_step,
    axis_max, axis, evidence_step, buckets, borrowed_from, code_version, first_bar_at, last_bar_at, bar_count, fingerprint_rows, dagster_run_id
)
SELECT symbol, model, profile, origin, config, nodes, ttc_step_seconds, ttc_max_seconds, axis_step,
    axis_max, axis, evidence_step, buckets, borrowed_from, %(code_version)s, first_bar_at, last_bar_at, bar_count, fingerprint_rows, %(dagster_run_id)s
FROM analytics.model_version
WHERE generation = %(generation)s
RETURNING generation

-- name: copy_of_fingerprints
INSERT INTO analytics.fingerprint (generation, bucket, ttc_minutes, positive, negative, n, n_eff, evidence_positive, evidence_negative)
SELECT %(copy)s, bucket, ttc_minutes, positive, negative, n, n_eff, evidence_positive, evidence_negative
FROM analytics.fingerprint WHERE generation = %(generation)s

-- name: create_fingerprint_views
SELECT analytics.create_fingerprint_views(%s)
