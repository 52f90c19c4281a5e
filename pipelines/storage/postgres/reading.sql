-- name: set_reading
SELECT set_config('role', %(role)s, true), set_config('timezone', 'UTC', true),
    set_config('statement_timeout', %(statement_timeout)s, true), set_config('lock_timeout', %(lock_timeout)s, true),
    set_config('idle_in_transaction_session_timeout', %(idle_timeout)s, true)

-- name: read_state
SELECT pg_is_in_recovery() AS is_replica,
    CASE WHEN pg_is_in_recovery() THEN pg_last_xact_replay_timestamp() ELSE statement_timestamp() END AS as_of,
    statement_timestamp() AS read_at,
    NOT pg_is_in_recovery() OR (
        coalesce(pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn(), false)
        AND EXISTS (SELECT FROM pg_stat_wal_receiver)
    ) AS caught_up

-- name: database_id
SELECT format('%s/%s', system_identifier, (SELECT oid FROM pg_database WHERE datname = current_database()))
FROM pg_control_system()

-- name: position
SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_flush_lsn()::text END AS lsn, pg_postmaster_start_time() AS server_started_at

-- name: has_position
SELECT CASE
    WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_replay_lsn() >= %(lsn)s::pg_lsn, false)
    ELSE pg_postmaster_start_time() = %(server_started_at)s
END
