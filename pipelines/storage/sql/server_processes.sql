-- Whoever works for a connection, by what that calls itself; the rest by its task.
SELECT pid, CASE WHEN backend_type IN ('client backend', 'parallel worker') THEN coalesce(nullif(application_name, ''), 'client')
    ELSE backend_type END AS name
FROM pg_stat_activity WHERE backend_type IS NOT NULL
