-- name: data_directory
-- NULL for a role that may not see it.
SELECT CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE') THEN current_setting('data_directory') END

-- name: slots
-- A lost slot retains nothing. On a standby, what it retains is measured from the last location that was replayed.
SELECT slot_name AS name, active AS is_active,
    coalesce(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn), 0)::bigint
        AS retained_bytes
FROM pg_replication_slots ORDER BY slot_name

-- name: server_clock
SELECT clock_timestamp()

-- name: source_clocks
-- By how much the newest ticks of a source are dated ahead of their arrival, in seconds. Replayed ticks are dated by this system.
SELECT source, max(extract(epoch FROM ticked_at - received_at))::float8 AS ahead_seconds
FROM unnest(%(symbols)s::text[]) AS symbol (name)
CROSS JOIN LATERAL (
    SELECT source, ticked_at, received_at FROM live_data.price_log
    WHERE price_log.symbol = symbol.name AND ticked_at > clock_timestamp() - interval '10 minutes' ORDER BY ticked_at DESC LIMIT 1
) AS newest
WHERE source <> 'replay' GROUP BY source ORDER BY source
