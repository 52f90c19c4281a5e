-- name: list_files
SELECT name, kept_in, host, size_bytes, sha256, dagster_run_id, written_at FROM ops.file
WHERE starts_with(name, %s) ORDER BY name

-- name: store_file
INSERT INTO ops.file (name, kept_in, host, size_bytes, sha256, content, dagster_run_id)
VALUES (%(name)s, %(kept_in)s, %(host)s, %(size_bytes)s, %(sha256)s, %(content)s, %(dagster_run_id)s)
ON CONFLICT (name) DO UPDATE SET kept_in = EXCLUDED.kept_in, host = EXCLUDED.host, size_bytes = EXCLUDED.size_bytes, sha256 = EXCLUDED.sha256,
    content = EXCLUDED.content, dagster_run_id = EXCLUDED.dagster_run_id, written_at = EXCLUDED.written_at
RETURNING name, kept_in, host, size_bytes, sha256, dagster_run_id, written_at

-- name: content_of_file
SELECT content FROM ops.file WHERE name = %s
