-- name: campaigns
-- By the key of the events, because the snapshots are many; each campaign has an event 0.
WITH RECURSIVE known AS (
    (SELECT campaign FROM live_data.desk_event ORDER BY campaign LIMIT 1)
    UNION ALL
    SELECT next.campaign FROM known CROSS JOIN LATERAL (
        SELECT campaign FROM live_data.desk_event AS event WHERE event.campaign > known.campaign ORDER BY campaign LIMIT 1
    ) AS next
)
SELECT known.campaign, newest.session_start_time AS started_at, newest.created_at AS saved_at,
    newest.status, newest.loop_count AS inputs, newest.config -> 'desk' ->> 'stopped' AS stopped,
    metrics.portfolio_initial_capital AS capital_usd, metrics.portfolio_equity AS equity_usd,
    metrics.total_pnl_usd AS gain_usd, metrics.max_dd_usd AS drawdown_usd, risk.daily_loss_usd,
    (SELECT count(*) FROM live_data.position_snapshots AS position WHERE position.snapshot_id = newest.snapshot_id) AS active
FROM known
CROSS JOIN LATERAL (
    SELECT * FROM live_data.session_snapshots AS snapshot
    WHERE snapshot.session_id = 'desk:' || known.campaign ORDER BY snapshot_id DESC LIMIT 1
) AS newest
JOIN live_data.metrics_snapshots AS metrics USING (snapshot_id)
JOIN live_data.risk_guard_snapshots AS risk USING (snapshot_id)
ORDER BY known.campaign

-- name: trades
SELECT trade, symbol, series_ticker, event_ticker, ticker, side, stage, closes_at, signalled_at, opened_at, ended_at,
    probability, edge_usd, limit_usd, ordered_contracts, bought_contracts, sold_contracts, cost_usd, sales_usd, fees_usd,
    paid_usd, gain_usd, last_bid_usd, result, settlement_value
FROM live_data.desk_trade
WHERE campaign = %(campaign)s AND (%(since)s::timestamptz IS NULL OR signalled_at >= %(since)s)
ORDER BY trade DESC LIMIT %(limit)s

-- name: stranded_elsewhere
-- Those of the simulated exchange, whose campaigns begin with demo, are left behind with it.
SELECT campaign, ticker, side FROM live_data.desk_trade
WHERE stage IN ('signalled', 'working', 'open') AND closes_at < %(before)s
    AND campaign <> %(campaign)s AND campaign NOT LIKE 'demo%%'
ORDER BY campaign, trade

-- name: events
SELECT event, at, kind, reason, trade, symbol, ticker, side, price, contracts, fee_usd
FROM live_data.desk_event WHERE campaign = %(campaign)s
ORDER BY event DESC LIMIT %(limit)s

-- name: equity
SELECT session.created_at, metrics.portfolio_equity, metrics.total_pnl_usd, metrics.max_dd_usd
FROM live_data.session_snapshots AS session JOIN live_data.metrics_snapshots AS metrics USING (snapshot_id)
WHERE session.session_id = %(session_id)s AND session.created_at >= %(since)s
ORDER BY session.snapshot_id

-- name: balances
SELECT account, balance_usd FROM live_data.desk_balance WHERE campaign = %s ORDER BY account

-- name: unbalanced_events
SELECT event FROM live_data.desk_ledger WHERE campaign = %s
GROUP BY event HAVING sum(amount_usd) <> 0 ORDER BY event

-- name: inputs
SELECT first_input, last_input, content FROM live_data.desk_inputs
WHERE campaign = %(campaign)s AND last_input > %(after)s
ORDER BY first_input
