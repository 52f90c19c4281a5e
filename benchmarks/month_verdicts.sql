SELECT
    (SELECT count(*) FROM live_data.price_log WHERE source = 'month' AND ticked_at >= %(oldest)s) AS ticks,
    (SELECT count(*) FROM live_data.price_log WHERE source = 'month' AND ticked_at < %(oldest)s) AS older_ticks,
    (SELECT count(*) FROM live_data.answer WHERE generation = 1 AND model = 'momentum' AND price = 100 AND answered_at >= %(oldest)s) AS answers,
    -- A session goes as a whole, by its last snapshot.
    (SELECT count(*) FROM live_data.session_snapshots WHERE session_id LIKE 'month-%%' AND created_at >= %(oldest)s + interval '3 hours') AS snapshots,
    (SELECT count(*) FROM live_data.session_snapshots WHERE session_id LIKE 'month-%%' AND created_at < %(oldest)s) AS older_snapshots,
    (SELECT count(*) FROM live_data.session WHERE status = 'running' AND heartbeat_at < now() - interval '1 minute') AS running
