SELECT
    (SELECT sum(blks_hit) FROM pg_stat_database)::float8 AS blocks_hit,
    (SELECT sum(blks_read) FROM pg_stat_database)::float8 AS blocks_read,
    -- Who is hidden from this role has no type: then nobody can be counted.
    (SELECT CASE WHEN count(*) FILTER (WHERE backend_type IS NULL) = 0 THEN count(*) FILTER (WHERE backend_type = 'client backend') END
        FROM pg_stat_activity WHERE pid <> pg_backend_pid())::float8 AS connections,
    current_setting('max_connections')::float8 AS connections_allowed,
    -- NULL where some are hidden from this role: theirs may be longer.
    (SELECT CASE WHEN count(*) FILTER (WHERE query = '<insufficient privilege>') = 0
        THEN coalesce(extract(epoch FROM max(clock_timestamp() - xact_start)), 0) END
        FROM pg_stat_activity WHERE coalesce(backend_type, 'client backend') = 'client backend' AND pid <> pg_backend_pid()
    )::float8 AS longest_transaction_seconds,
    (SELECT count(*) FROM pg_stat_activity WHERE query = '<insufficient privilege>' AND pid <> pg_backend_pid())::bigint AS hidden,
    (SELECT count(*) FROM pg_locks WHERE NOT granted)::float8 AS locks_waited_for,
    (SELECT max(age(datfrozenxid)) FROM pg_database)::float8 AS xid_age,
    (SELECT max(mxid_age(datminmxid)) FROM pg_database)::float8 AS multixact_age,
    (SELECT sum(deadlocks) FROM pg_stat_database)::float8 AS deadlocks,
    (SELECT sum(temp_bytes) FROM pg_stat_database)::float8 AS temporary_bytes,
    (SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time()))::float8 AS uptime_seconds,
    (SELECT min(stats_reset) FROM pg_stat_database WHERE datname = current_database()) AS statistics_since,
    pg_database_size(current_database())::float8 AS database_bytes
