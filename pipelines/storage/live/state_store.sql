-- name: save_snapshot
WITH session AS (
    INSERT INTO live_data.session_snapshots (
        session_id, session_start_time, mode, paper_campaign_id, config, loop_count, status, snapshot_type
    ) VALUES (
        %(session_id)s, %(session_start_time)s, %(mode)s, %(paper_campaign_id)s, %(config)s::jsonb, %(loop_count)s,
        %(status)s, %(snapshot_type)s
    )
    RETURNING snapshot_id
), positions AS (
    INSERT INTO live_data.position_snapshots (
        snapshot_id, position_key, trade_data, order_a_data, order_b_data, position_open_time
    )
    SELECT session.snapshot_id, position.*
    FROM session
    CROSS JOIN unnest(
        %(position_key)s::text[], %(trade)s::jsonb[], %(order_a)s::jsonb[], %(order_b)s::jsonb[],
        %(position_open_time)s::timestamptz[]
    ) AS position
), metrics AS (
    INSERT INTO live_data.metrics_snapshots (
        snapshot_id, trades_opened, trades_closed, winning_trades, losing_trades, total_pnl_usd, max_dd_usd,
        per_symbol_pnl, per_symbol_trades_opened, per_symbol_trades_closed, per_symbol_winning_trades,
        portfolio_initial_capital, portfolio_equity
    )
    SELECT snapshot_id, %(trades_opened)s::bigint, %(trades_closed)s::bigint, %(winning_trades)s::bigint,
        %(losing_trades)s::bigint, %(total_pnl_usd)s::double precision, %(max_dd_usd)s::double precision,
        %(per_symbol_pnl)s::jsonb, %(per_symbol_trades_opened)s::jsonb, %(per_symbol_trades_closed)s::jsonb,
        %(per_symbol_winning_trades)s::jsonb, %(portfolio_initial_capital)s::double precision,
        %(portfolio_equity)s::double precision
    FROM session WHERE %(has_metrics)s
), risk_guard AS (
    INSERT INTO live_data.risk_guard_snapshots (
        snapshot_id, session_start_time, daily_loss_usd, per_symbol_loss, per_symbol_trades_rejected,
        per_symbol_trades_allowed, per_symbol_capital_used, per_symbol_position_count
    )
    SELECT snapshot_id, %(risk_session_start_time)s::timestamptz, %(daily_loss_usd)s::double precision,
        %(per_symbol_loss)s::jsonb, %(per_symbol_trades_rejected)s::jsonb, %(per_symbol_trades_allowed)s::jsonb,
        %(per_symbol_capital_used)s::jsonb, %(per_symbol_position_count)s::jsonb
    FROM session WHERE %(has_risk_guard)s
)
SELECT snapshot_id FROM session

-- name: latest_snapshot
SELECT session.snapshot_id, session.session_id, session.session_start_time, session.mode, session.paper_campaign_id,
    session.config, session.loop_count, session.status,
    metrics.snapshot_id IS NOT NULL AS has_metrics, metrics.trades_opened, metrics.trades_closed, metrics.winning_trades,
    metrics.losing_trades, metrics.total_pnl_usd, metrics.max_dd_usd, metrics.per_symbol_pnl,
    metrics.per_symbol_trades_opened, metrics.per_symbol_trades_closed, metrics.per_symbol_winning_trades,
    metrics.portfolio_initial_capital, metrics.portfolio_equity,
    risk.snapshot_id IS NOT NULL AS has_risk_guard, risk.session_start_time AS risk_session_start_time,
    risk.daily_loss_usd, risk.per_symbol_loss, risk.per_symbol_trades_rejected, risk.per_symbol_trades_allowed,
    risk.per_symbol_capital_used, risk.per_symbol_position_count
FROM live_data.session_snapshots AS session
LEFT JOIN live_data.metrics_snapshots AS metrics USING (snapshot_id)
LEFT JOIN live_data.risk_guard_snapshots AS risk USING (snapshot_id)
WHERE session.session_id = %s
ORDER BY session.snapshot_id DESC LIMIT 1

-- name: snapshot_positions
SELECT position_key, trade_data AS trade, order_a_data AS order_a, order_b_data AS order_b, position_open_time
FROM live_data.position_snapshots WHERE snapshot_id = %s
ORDER BY position_key
