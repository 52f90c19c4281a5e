UPDATE live_data.session_snapshots SET status = 'crashed'
WHERE snapshot_id = %(newest_snapshot)s AND status = 'running' AND NOT EXISTS (
    SELECT FROM live_data.session_snapshots AS newer
    WHERE newer.session_id = %(session_id)s AND newer.snapshot_id > %(newest_snapshot)s
)
