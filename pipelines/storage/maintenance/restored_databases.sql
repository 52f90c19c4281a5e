-- name: unused_databases
SELECT datname FROM pg_database WHERE datname LIKE %s AND NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE pg_stat_activity.datname = pg_database.datname) ORDER BY 1

-- name: create_empty_database
CREATE DATABASE {} TEMPLATE template0

-- name: database_exists
SELECT EXISTS (SELECT FROM pg_database WHERE datname = %s)

-- name: has_tables
SELECT EXISTS (
    SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('r', 'p') AND nspname <> 'information_schema' AND nspname !~ '^pg_'
)

-- name: create_role
CREATE ROLE {} NOLOGIN

-- name: superusers
SELECT rolname FROM pg_roles WHERE rolsuper

-- name: plain_roles
SELECT rolname FROM pg_roles WHERE NOT rolsuper

-- name: set_database_owner
ALTER DATABASE {} OWNER TO {}

-- name: reset_database
ALTER DATABASE {} RESET ALL

-- name: create_extension
CREATE EXTENSION IF NOT EXISTS {}

-- name: rename_database
ALTER DATABASE {} RENAME TO {}

-- name: drop_database
DROP DATABASE IF EXISTS {} WITH (FORCE)

-- name: terminate_backends
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()

-- name: analyze_database
ANALYZE

-- name: repeatable_read
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY

-- name: table_facts
SELECT nspname || '.' || relname,
    format(
        'SELECT count(*), coalesce(sum(pg_catalog.hash_record_extended(t, 0)), 0)::text FROM ONLY %%I.%%I AS t',
        nspname, relname
    )
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relkind = 'r' AND relpersistence = 'p' AND nspname <> 'information_schema' AND nspname !~ '^pg_'
ORDER BY nspname, relname

-- name: server_clock
SELECT clock_timestamp()

-- name: archive_settings
SELECT current_setting('archive_mode') AS mode, current_setting('archive_command') AS command,
    current_setting('archive_library') AS library

-- name: failed_wal
SELECT last_failed_wal FROM pg_stat_archiver WHERE last_failed_time > coalesce(last_archived_time, '-infinity')

-- name: switch_wal
SELECT pg_walfile_name(pg_switch_wal())

-- name: create_recovery_mark
CREATE TABLE recovery_mark (label text PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp())

-- name: insert_recovery_mark
INSERT INTO recovery_mark (label) VALUES (%s)

-- name: recovery_marks
SELECT label FROM recovery_mark ORDER BY at
