-- Whoever follows this server: what it has not replayed yet. NULL where that is hidden from this role, or not known: the server has a lag in
-- seconds only for what was written lately, and who has replayed everything lags by none.
SELECT coalesce(nullif(application_name, ''), 'standby')
        || CASE WHEN row_number() OVER (PARTITION BY application_name ORDER BY client_addr, pid) > 1
            THEN ' ' || row_number() OVER (PARTITION BY application_name ORDER BY client_addr, pid) ELSE '' END AS name,
    lag_bytes, coalesce(extract(epoch FROM replay_lag), CASE WHEN lag_bytes = 0 THEN 0 END)::float8 AS lag_seconds
FROM pg_stat_replication
CROSS JOIN LATERAL (
    SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::float8 END AS lag_bytes
) AS behind
ORDER BY 1
