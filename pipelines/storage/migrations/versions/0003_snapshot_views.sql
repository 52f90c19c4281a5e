CREATE VIEW live_data.v_latest_snapshots AS
SELECT newest.*
FROM (SELECT DISTINCT session_id FROM live_data.session_snapshots) AS session
CROSS JOIN LATERAL (
    SELECT snapshot_id, session_snapshots.session_id, created_at, session_start_time, mode, paper_campaign_id, config,
        loop_count, status, snapshot_type
    FROM live_data.session_snapshots
    WHERE session_snapshots.session_id = session.session_id
    ORDER BY snapshot_id DESC LIMIT 1
) AS newest;
COMMENT ON VIEW live_data.v_latest_snapshots IS 'The newest snapshot of each session.';
COMMENT ON COLUMN live_data.v_latest_snapshots.snapshot_id IS 'Running number.';
COMMENT ON COLUMN live_data.v_latest_snapshots.session_id IS 'Name of the session.';
COMMENT ON COLUMN live_data.v_latest_snapshots.created_at IS 'When it was saved, UTC.';
COMMENT ON COLUMN live_data.v_latest_snapshots.session_start_time IS 'Start of the session, UTC.';
COMMENT ON COLUMN live_data.v_latest_snapshots.mode IS 'paper, live or backtest.';
COMMENT ON COLUMN live_data.v_latest_snapshots.paper_campaign_id IS 'Campaign of a paper session.';
COMMENT ON COLUMN live_data.v_latest_snapshots.config IS 'Configuration, and whatever else the session keeps.';
COMMENT ON COLUMN live_data.v_latest_snapshots.loop_count IS 'Cycles so far.';
COMMENT ON COLUMN live_data.v_latest_snapshots.status IS 'running, stopped or crashed, when it was saved.';
COMMENT ON COLUMN live_data.v_latest_snapshots.snapshot_type IS 'initial, periodic, on_trade or on_stop.';

CREATE VIEW live_data.v_latest_snapshot_details AS
SELECT latest.snapshot_id, latest.session_id, latest.created_at, latest.status, latest.loop_count, metrics.total_pnl_usd,
    metrics.portfolio_equity, risk.daily_loss_usd,
    (SELECT count(*) FROM live_data.position_snapshots AS position WHERE position.snapshot_id = latest.snapshot_id) AS active_positions
FROM live_data.v_latest_snapshots AS latest
LEFT JOIN live_data.metrics_snapshots AS metrics USING (snapshot_id)
LEFT JOIN live_data.risk_guard_snapshots AS risk USING (snapshot_id);
COMMENT ON VIEW live_data.v_latest_snapshot_details IS 'The newest snapshot of each session with its results, limits and number of open positions.';
COMMENT ON COLUMN live_data.v_latest_snapshot_details.snapshot_id IS 'Running number.';
COMMENT ON COLUMN live_data.v_latest_snapshot_details.session_id IS 'Name of the session.';
COMMENT ON COLUMN live_data.v_latest_snapshot_details.created_at IS 'When it was saved, UTC.';
COMMENT ON COLUMN live_data.v_latest_snapshot_details.status IS 'running, stopped or crashed, when it was saved.';
COMMENT ON COLUMN live_data.v_latest_snapshot_details.loop_count IS 'Cycles so far.';
COMMENT ON COLUMN live_data.v_latest_snapshot_details.total_pnl_usd IS 'Gain so far, USD.';
COMMENT ON COLUMN live_data.v_latest_snapshot_details.portfolio_equity IS 'Capital then, USD.';
COMMENT ON COLUMN live_data.v_latest_snapshot_details.daily_loss_usd IS 'Loss of the day, USD.';
COMMENT ON COLUMN live_data.v_latest_snapshot_details.active_positions IS 'Open positions.';

CREATE VIEW live_data.v_session_history AS
SELECT session.session_id, session.snapshot_id, session.created_at AS snapshot_time, session.snapshot_type, session.status,
    session.loop_count, metrics.total_pnl_usd, metrics.portfolio_equity,
    (SELECT count(*) FROM live_data.position_snapshots AS position WHERE position.snapshot_id = session.snapshot_id) AS active_positions
FROM live_data.session_snapshots AS session
LEFT JOIN live_data.metrics_snapshots AS metrics USING (snapshot_id);
COMMENT ON VIEW live_data.v_session_history IS 'Every snapshot of every session with its results and number of open positions.';
COMMENT ON COLUMN live_data.v_session_history.session_id IS 'Name of the session.';
COMMENT ON COLUMN live_data.v_session_history.snapshot_id IS 'Running number.';
COMMENT ON COLUMN live_data.v_session_history.snapshot_time IS 'When it was saved, UTC.';
COMMENT ON COLUMN live_data.v_session_history.snapshot_type IS 'initial, periodic, on_trade or on_stop.';
COMMENT ON COLUMN live_data.v_session_history.status IS 'running, stopped or crashed, when it was saved.';
COMMENT ON COLUMN live_data.v_session_history.loop_count IS 'Cycles so far.';
COMMENT ON COLUMN live_data.v_session_history.total_pnl_usd IS 'Gain so far, USD.';
COMMENT ON COLUMN live_data.v_session_history.portfolio_equity IS 'Capital then, USD.';
COMMENT ON COLUMN live_data.v_session_history.active_positions IS 'Open positions.';

CREATE VIEW live_data.v_index_usage_stats AS
SELECT usage.relname::text AS table_name, usage.indexrelname::text AS index_name, usage.idx_scan AS scans,
    usage.idx_tup_read AS entries_read, usage.idx_tup_fetch AS rows_fetched,
    pg_relation_size(usage.indexrelid) AS size_bytes,
    EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = usage.indexrelid) AS enforces_constraint
FROM pg_stat_user_indexes AS usage
WHERE usage.schemaname = 'live_data';
COMMENT ON VIEW live_data.v_index_usage_stats IS 'How often each index of the live tables was used since statistics began.';
COMMENT ON COLUMN live_data.v_index_usage_stats.table_name IS 'Table; partitions by their own name.';
COMMENT ON COLUMN live_data.v_index_usage_stats.index_name IS 'Index.';
COMMENT ON COLUMN live_data.v_index_usage_stats.scans IS 'Scans of it.';
COMMENT ON COLUMN live_data.v_index_usage_stats.entries_read IS 'Entries read by them.';
COMMENT ON COLUMN live_data.v_index_usage_stats.rows_fetched IS 'Rows fetched by plain scans.';
COMMENT ON COLUMN live_data.v_index_usage_stats.size_bytes IS 'Size, bytes.';
COMMENT ON COLUMN live_data.v_index_usage_stats.enforces_constraint IS 'Whether a key or uniqueness rests on it.';

-- Counted, not estimated; heap, indexes and TOAST each once, so that they add up to the total.
CREATE FUNCTION live_data.snapshot_table_stats()
RETURNS TABLE (table_name text, row_count bigint, table_bytes bigint, index_bytes bigint, toast_bytes bigint, total_bytes bigint)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['session_snapshots', 'position_snapshots', 'metrics_snapshots', 'risk_guard_snapshots'] LOOP
        table_name := name;
        EXECUTE format('SELECT count(*) FROM live_data.%I', name) INTO row_count;
        SELECT pg_relation_size(oid) + pg_relation_size(oid, 'fsm') + pg_relation_size(oid, 'vm'), pg_indexes_size(oid),
            CASE WHEN reltoastrelid = 0 THEN 0 ELSE pg_total_relation_size(reltoastrelid) END, pg_total_relation_size(oid)
        INTO table_bytes, index_bytes, toast_bytes, total_bytes
        FROM pg_class WHERE oid = format('live_data.%I', name)::regclass;
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION live_data.snapshot_table_stats() IS 'Rows and bytes of each snapshot table; table (with its maps), indexes and TOAST add up to the total.';

GRANT SELECT ON live_data.v_latest_snapshots, live_data.v_latest_snapshot_details, live_data.v_session_history,
    live_data.v_index_usage_stats TO strikecast_live, strikecast_pipeline, strikecast_reader;
