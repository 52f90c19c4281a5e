-- name: advisory_lock
SELECT pg_advisory_lock(%s)

-- name: shared_transaction_lock
SELECT pg_advisory_xact_lock_shared(%s)

-- name: release_advisory_lock
SELECT pg_advisory_unlock(%s)

-- name: release_advisory_locks
SELECT pg_advisory_unlock_all()

-- name: lock_symbol
SELECT pg_advisory_xact_lock(hashtext(%s), hashtext(%s))

-- name: try_lock
SELECT pg_try_advisory_lock(%s, hashtext(%s))

-- name: lock_holders
-- Of a lock with one key: class_id 0 and sub_id 1; with two: the first key and sub_id 2. Without rights on the holder,
-- its address and start are NULL.
SELECT coalesce(activity.usename, 'unknown') AS role, coalesce(nullif(activity.application_name, ''), 'without a name') AS application,
    CASE WHEN activity.client_addr IS NOT NULL THEN host(activity.client_addr)
        WHEN activity.backend_start IS NULL THEN 'an address that this login cannot see' ELSE 'this machine' END AS address,
    pg_locks.pid,
    EXISTS (
        SELECT FROM pg_roles WHERE pg_has_role(activity.usesysid, pg_roles.oid, 'MEMBER')
            AND rolname IN ('strikecast_owner', 'strikecast_pipeline', 'strikecast_live', 'strikecast_backup')
    ) AS is_own
FROM pg_locks LEFT JOIN pg_stat_activity AS activity ON activity.pid = pg_locks.pid
WHERE locktype = 'advisory' AND granted AND classid = %(class_id)s AND objsubid = %(sub_id)s
    AND objid = CASE WHEN %(name)s::text IS NULL THEN %(key)s ELSE hashtext(%(name)s)::bigint & 4294967295 END
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pg_locks.pid <> pg_backend_pid()

-- name: advisory_locks_are_open
SELECT EXISTS (
    SELECT FROM pg_proc
    WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ '^pg_(try_)?advisory_(xact_)?lock(_shared)?$'
        AND has_function_privilege('public', oid, 'EXECUTE')
)

-- name: login_is_superuser
SELECT rolsuper FROM pg_roles WHERE rolname = session_user

-- name: restrict_advisory_locks
DO $$
DECLARE
    lock_function regprocedure;
BEGIN
    FOR lock_function IN
        SELECT oid FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ '^pg_(try_)?advisory_(xact_)?lock(_shared)?$'
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', lock_function);
        EXECUTE format(
            'GRANT EXECUTE ON FUNCTION %s TO strikecast_owner, strikecast_pipeline, strikecast_live, strikecast_backup',
            lock_function
        );
    END LOOP;
END
$$
