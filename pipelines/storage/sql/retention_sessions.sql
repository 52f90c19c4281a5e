SELECT latest.session_id, latest.snapshot_id AS newest_snapshot, latest.created_at AS newest_at, latest.status,
    counted.snapshots, counted.old_snapshots
FROM live_data.v_latest_snapshots AS latest
CROSS JOIN LATERAL (
    SELECT count(*) AS snapshots,
        count(*) FILTER (WHERE one.created_at < %(before)s AND one.snapshot_id < latest.snapshot_id) AS old_snapshots
    FROM live_data.session_snapshots AS one WHERE one.session_id = latest.session_id
) AS counted
ORDER BY latest.session_id
