-- Whoever works for a connection, by what that calls itself; the rest by its task. Who is hidden from this role has no type.
SELECT pid, CASE WHEN backend_type = 'client backend' THEN 'client ' || coalesce(application_name, '') ELSE backend_type END AS name
FROM pg_stat_activity
