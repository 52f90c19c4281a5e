-- What a live session since then last saved of itself; one that has not refreshed yet has no latencies.
SELECT session_id, created_at, config -> 'latencies_ms' AS latencies_ms, config -> 'counts' AS counts,
    (config ->> 'longest_gap_seconds')::float8 AS longest_gap_seconds, (config ->> 'start_seconds')::float8 AS start_seconds
FROM live_data.session_snapshots
WHERE session_id LIKE 'live-%%' AND created_at >= %s AND config -> 'latencies_ms' <> '{}'
ORDER BY snapshot_id DESC LIMIT 1
