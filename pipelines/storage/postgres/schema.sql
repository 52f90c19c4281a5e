-- name: schema_version
SELECT version_num FROM public.schema_version

-- name: schema_version_exists
SELECT to_regclass('public.schema_version') IS NOT NULL

-- name: schema_version_is_readable
SELECT has_table_privilege('public.schema_version', 'SELECT')

-- name: login_has_role
SELECT pg_has_role(session_user, oid, 'MEMBER') FROM pg_roles WHERE rolname = %s

-- name: set_lock_timeout
SELECT set_config('lock_timeout', %s, false)

-- name: set_role_owner
SET ROLE strikecast_owner

-- name: reset_role
RESET ROLE

-- name: backend_pid
SELECT pg_backend_pid()
