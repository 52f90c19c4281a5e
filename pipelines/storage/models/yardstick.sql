-- name: changed_since
SELECT min(first_changed_at) FROM ops.ingestion WHERE symbol = %s AND finished_at > %s
