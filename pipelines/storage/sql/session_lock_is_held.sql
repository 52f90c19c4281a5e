SELECT EXISTS (
    SELECT 1 FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND classid = 0 AND objid = %s AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
