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
