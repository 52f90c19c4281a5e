-- A session that has saved another snapshot since it was planned is left for the next time.
WITH victim AS (
    SELECT snapshot_id FROM live_data.session_snapshots
    WHERE session_id = %(session_id)s AND snapshot_id <= %(last_snapshot)s AND (%(before)s::timestamptz IS NULL OR created_at < %(before)s)
        AND (%(before)s::timestamptz IS NOT NULL OR NOT EXISTS (
            SELECT FROM live_data.session_snapshots AS newer
            WHERE newer.session_id = %(session_id)s AND newer.snapshot_id > %(newest_snapshot)s
        ))
    ORDER BY snapshot_id LIMIT %(batch)s FOR UPDATE SKIP LOCKED
), position AS (
    DELETE FROM live_data.position_snapshots USING victim WHERE position_snapshots.snapshot_id = victim.snapshot_id RETURNING 1
), metrics AS (
    DELETE FROM live_data.metrics_snapshots USING victim WHERE metrics_snapshots.snapshot_id = victim.snapshot_id RETURNING 1
), risk AS (
    DELETE FROM live_data.risk_guard_snapshots USING victim WHERE risk_guard_snapshots.snapshot_id = victim.snapshot_id RETURNING 1
), session AS (
    DELETE FROM live_data.session_snapshots USING victim WHERE session_snapshots.snapshot_id = victim.snapshot_id RETURNING 1
)
SELECT (SELECT count(*) FROM session) AS session_snapshots, (SELECT count(*) FROM position) AS position_snapshots,
    (SELECT count(*) FROM metrics) AS metrics_snapshots, (SELECT count(*) FROM risk) AS risk_guard_snapshots
