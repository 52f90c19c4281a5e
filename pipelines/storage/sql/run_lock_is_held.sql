SELECT EXISTS (
    SELECT 1 FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND classid = %(class)s AND objsubid = 2
        AND objid = (hashtext(%(run_id)s)::bigint & 4294967295)
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
