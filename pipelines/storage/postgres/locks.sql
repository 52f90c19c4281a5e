-- name: advisory_lock
SELECT pg_advisory_lock(%s)

-- name: release_advisory_lock
SELECT pg_advisory_unlock(%s)

-- name: release_advisory_locks
SELECT pg_advisory_unlock_all()

-- name: lock_symbol
SELECT pg_advisory_xact_lock(hashtext(%s), hashtext(%s))

-- name: try_lock
SELECT pg_try_advisory_lock(%s, hashtext(%s))

-- name: run_lock_is_held
SELECT EXISTS (
    SELECT 1 FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND classid = %(class)s AND objsubid = 2
        AND objid = (hashtext(%(run_id)s)::bigint & 4294967295)
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
