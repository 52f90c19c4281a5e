-- name: lock_desk
SELECT live_data.lock_desk(%(live_session)s::bigint, %(campaign)s::text, %(from_inputs)s::bigint)

-- name: save_inputs
INSERT INTO live_data.desk_inputs (campaign, first_input, last_input, newest_at, session_id, content)
SELECT %(campaign)s, %(from_inputs)s + 1, %(last_input)s, %(newest_at)s, %(live_session)s, %(content)s
WHERE %(last_input)s > %(from_inputs)s

-- name: save_capital
WITH opened AS (
    INSERT INTO live_data.desk_event (campaign, event, at, kind, reason)
    VALUES (%(campaign)s, 0, %(started_at)s, 'capital', 'the campaign begins')
    ON CONFLICT (campaign, event) DO NOTHING
    RETURNING campaign, event
)
INSERT INTO live_data.desk_ledger (campaign, event, account, amount_usd)
SELECT opened.campaign, opened.event, posted.account, posted.amount_usd
FROM opened CROSS JOIN (VALUES ('cash', %(capital_usd)s::numeric), ('capital', -%(capital_usd)s::numeric)) AS posted (account, amount_usd)

-- name: save_events
WITH newest AS (
    SELECT max(event) AS event FROM live_data.desk_event WHERE campaign = %(campaign)s
), given AS (
    SELECT newest.event + listed.place AS event, content.*
    FROM newest
    CROSS JOIN jsonb_array_elements(%(events)s::jsonb) WITH ORDINALITY AS listed (event, place)
    CROSS JOIN LATERAL jsonb_to_record(listed.event) AS content (
        at timestamptz, kind text, reason text, trade bigint, symbol text, ticker text, side text, price numeric,
        contracts numeric, fee_usd numeric, posting jsonb
    )
), event AS (
    INSERT INTO live_data.desk_event (campaign, event, at, kind, reason, trade, symbol, ticker, side, price, contracts, fee_usd)
    SELECT %(campaign)s, event, at, kind, reason, trade, symbol, ticker, side, price, contracts, fee_usd FROM given
)
INSERT INTO live_data.desk_ledger (campaign, event, account, amount_usd)
SELECT %(campaign)s, given.event, posted.account, posted.amount_usd::numeric
FROM given CROSS JOIN LATERAL jsonb_each_text(given.posting) AS posted (account, amount_usd)

-- name: save_trades
INSERT INTO live_data.desk_trade AS stored (
    campaign, trade, symbol, series_ticker, event_ticker, ticker, side, stage, closes_at, signalled_at, opened_at, ended_at,
    probability, edge_usd, limit_usd, ordered_contracts, bought_contracts, sold_contracts, cost_usd, sales_usd, fees_usd,
    paid_usd, gain_usd, last_bid_usd, result, settlement_value
)
SELECT %(campaign)s, given.*
FROM jsonb_to_recordset(%(trades)s::jsonb) AS given (
    trade bigint, symbol text, series_ticker text, event_ticker text, ticker text, side text, stage text,
    closes_at timestamptz, signalled_at timestamptz, opened_at timestamptz, ended_at timestamptz, probability numeric,
    edge_usd numeric, limit_usd numeric, ordered_contracts numeric, bought_contracts numeric, sold_contracts numeric,
    cost_usd numeric, sales_usd numeric, fees_usd numeric, paid_usd numeric, gain_usd numeric, last_bid_usd numeric,
    result text, settlement_value numeric
)
ON CONFLICT (campaign, trade) DO UPDATE SET
    stage = excluded.stage, closes_at = excluded.closes_at, opened_at = excluded.opened_at, ended_at = excluded.ended_at,
    bought_contracts = excluded.bought_contracts, sold_contracts = excluded.sold_contracts, cost_usd = excluded.cost_usd,
    sales_usd = excluded.sales_usd, fees_usd = excluded.fees_usd, paid_usd = excluded.paid_usd, gain_usd = excluded.gain_usd,
    last_bid_usd = excluded.last_bid_usd, result = excluded.result, settlement_value = excluded.settlement_value

-- name: saved_state
SELECT session.config, coalesce(positions.active, '[]'), session.created_at
FROM live_data.session_snapshots AS session
CROSS JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_object('trade', trade_data, 'order_a', order_a_data, 'order_b', order_b_data)) AS active
    FROM live_data.position_snapshots WHERE position_snapshots.snapshot_id = session.snapshot_id
) AS positions
WHERE session.session_id = %(session_id)s AND (%(inputs)s::bigint IS NULL OR session.loop_count <= %(inputs)s)
ORDER BY session.snapshot_id DESC LIMIT 1
