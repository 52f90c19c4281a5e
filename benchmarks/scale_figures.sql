-- name: catalog
SELECT (SELECT count(*) FROM pg_class) AS pg_class_rows,
    (SELECT count(*) FROM pg_attribute) AS pg_attribute_rows,
    (SELECT sum(pg_total_relation_size(oid)) / 1e6 FROM pg_class
     WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r') AS catalog_mb,
    pg_database_size(current_database()) / 1e6 AS database_mb

-- name: fingerprint_view
SELECT * FROM analytics.btc_fingerprint_directional_baseline

-- name: lookup_cell
SELECT * FROM analytics.lookup_cell
WHERE symbol = 'BTC' AND model = 'momentum' AND ttc_seconds = 900 AND momentum_bucket = 3

-- name: strike_probability
SELECT * FROM analytics.strike_probability('BTC', 95000, 95250, 900, 0.02)

-- name: bars_of_a_day
SELECT count(*) FROM historical_data.price_history
WHERE symbol = 'BTC' AND opened_at > '2026-07-01Z' AND opened_at <= '2026-07-02Z'

-- name: champions
SELECT * FROM analytics.champion

-- name: own_locks
SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()

-- name: audit_figures
SELECT count(*) FROM ops.audit_figure

-- name: events
-- Of the newest build, by symbol that it built.
WITH newest AS (
    SELECT run_id FROM runs WHERE pipeline_name IN ('build', 'update_symbols') AND status = 'SUCCESS' ORDER BY id DESC LIMIT 1
),
built AS (
    SELECT greatest(1, count(DISTINCT partition)) AS symbols FROM event_logs JOIN newest USING (run_id)
    WHERE dagster_event_type = 'ASSET_MATERIALIZATION'
)
SELECT sum(octet_length(event)) / 1e3 / symbols AS events_kb_per_symbol, count(*)::float / symbols AS event_rows_per_symbol,
    symbols AS symbols_of_the_run, pg_database_size(current_database()) / 1e6 AS dagster_mb
FROM event_logs JOIN newest USING (run_id), built GROUP BY symbols

-- name: sensor_ticks
SELECT tick_body FROM job_ticks
WHERE status IN ('SUCCESS', 'SKIPPED') AND type = 'SENSOR'
    AND create_timestamp > now() AT TIME ZONE 'UTC' - make_interval(secs => %s)

-- name: published_since
SELECT count(DISTINCT symbol) FROM analytics.model_version WHERE published_at >= %s
