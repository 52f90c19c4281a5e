SELECT config -> 'totals' FROM live_data.session_snapshots
WHERE session_id LIKE 'live-%%' AND jsonb_typeof(config -> 'totals') = 'object'
ORDER BY snapshot_id DESC LIMIT 1
