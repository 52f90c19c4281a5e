-- name: server_clock
SELECT clock_timestamp()

-- name: archive_settings
SELECT current_setting('archive_mode'), current_setting('archive_command'), current_setting('archive_library')

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
