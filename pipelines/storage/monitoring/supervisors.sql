-- name: claim
INSERT INTO ops.supervisor (token, host, home, ui_url) VALUES (%(token)s, %(host)s, %(home)s, %(ui_url)s)
ON CONFLICT (only_row) DO UPDATE SET token = excluded.token, host = excluded.host, home = excluded.home,
    ui_url = excluded.ui_url, started_at = clock_timestamp(), heartbeat_at = clock_timestamp()
WHERE supervisor.token = ANY (%(own_tokens)s)
    OR supervisor.heartbeat_at < clock_timestamp() - make_interval(secs => %(expires_seconds)s)
RETURNING token

-- name: other
SELECT host, home, ui_url, extract(epoch FROM clock_timestamp() - heartbeat_at)::float8 FROM ops.supervisor

-- name: heartbeat
UPDATE ops.supervisor SET heartbeat_at = clock_timestamp() WHERE token = %s RETURNING token

-- name: release
DELETE FROM ops.supervisor WHERE token = %s
