CREATE TABLE live_data.session_snapshots (
    snapshot_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id text NOT NULL CHECK (session_id <> ''),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    session_start_time timestamptz NOT NULL,
    mode text NOT NULL CHECK (mode IN ('paper', 'live', 'backtest')),
    paper_campaign_id text,
    config jsonb NOT NULL,
    loop_count bigint NOT NULL CHECK (loop_count >= 0),
    status text NOT NULL CHECK (status IN ('running', 'stopped', 'crashed')),
    snapshot_type text NOT NULL CHECK (snapshot_type IN ('initial', 'periodic', 'on_trade', 'on_stop'))
);
-- The newest snapshot of a session, and all of one session. By number, not by time: a clock may go back.
CREATE INDEX session_snapshots_by_session ON live_data.session_snapshots (session_id, snapshot_id DESC);
COMMENT ON TABLE live_data.session_snapshots IS 'One row per saved state of a session; its positions, metrics and limits are in the three other snapshot tables.';
COMMENT ON COLUMN live_data.session_snapshots.snapshot_id IS 'Running number; the highest of a session is its newest.';
COMMENT ON COLUMN live_data.session_snapshots.session_id IS 'Name of the session, such as live.';
COMMENT ON COLUMN live_data.session_snapshots.created_at IS 'When it was saved, UTC.';
COMMENT ON COLUMN live_data.session_snapshots.session_start_time IS 'Start of the session, UTC.';
COMMENT ON COLUMN live_data.session_snapshots.mode IS 'paper, live or backtest.';
COMMENT ON COLUMN live_data.session_snapshots.paper_campaign_id IS 'Campaign of a paper session.';
COMMENT ON COLUMN live_data.session_snapshots.config IS 'Configuration, and whatever else the session keeps.';
COMMENT ON COLUMN live_data.session_snapshots.loop_count IS 'Cycles so far.';
COMMENT ON COLUMN live_data.session_snapshots.status IS 'running, stopped or crashed, when it was saved.';
COMMENT ON COLUMN live_data.session_snapshots.snapshot_type IS 'initial, periodic, on_trade or on_stop.';

CREATE TABLE live_data.position_snapshots (
    snapshot_id bigint NOT NULL REFERENCES live_data.session_snapshots ON DELETE CASCADE,
    position_key text NOT NULL,
    trade_data jsonb,
    order_a_data jsonb,
    order_b_data jsonb,
    position_open_time timestamptz,
    PRIMARY KEY (snapshot_id, position_key)
);
-- Searches by content: trade_data @> '{"ticker": "..."}'.
CREATE INDEX position_snapshots_by_trade ON live_data.position_snapshots USING gin (trade_data jsonb_path_ops);
COMMENT ON TABLE live_data.position_snapshots IS 'One row per position that was open when a snapshot was saved.';
COMMENT ON COLUMN live_data.position_snapshots.snapshot_id IS 'Snapshot.';
COMMENT ON COLUMN live_data.position_snapshots.position_key IS 'Name of the position within its session.';
COMMENT ON COLUMN live_data.position_snapshots.trade_data IS 'The trade.';
COMMENT ON COLUMN live_data.position_snapshots.order_a_data IS 'Its first order.';
COMMENT ON COLUMN live_data.position_snapshots.order_b_data IS 'Its second order.';
COMMENT ON COLUMN live_data.position_snapshots.position_open_time IS 'When it was opened, UTC.';

CREATE TABLE live_data.metrics_snapshots (
    snapshot_id bigint PRIMARY KEY REFERENCES live_data.session_snapshots ON DELETE CASCADE,
    trades_opened bigint,
    trades_closed bigint,
    winning_trades bigint,
    losing_trades bigint,
    total_pnl_usd double precision CHECK (total_pnl_usd > '-Infinity' AND total_pnl_usd < 'Infinity'),
    max_dd_usd double precision CHECK (max_dd_usd > '-Infinity' AND max_dd_usd < 'Infinity'),
    per_symbol_pnl jsonb,
    per_symbol_trades_opened jsonb,
    per_symbol_trades_closed jsonb,
    per_symbol_winning_trades jsonb,
    portfolio_initial_capital double precision CHECK (portfolio_initial_capital > '-Infinity' AND portfolio_initial_capital < 'Infinity'),
    portfolio_equity double precision CHECK (portfolio_equity > '-Infinity' AND portfolio_equity < 'Infinity')
);
COMMENT ON TABLE live_data.metrics_snapshots IS 'Results of a session when a snapshot was saved.';
COMMENT ON COLUMN live_data.metrics_snapshots.snapshot_id IS 'Snapshot.';
COMMENT ON COLUMN live_data.metrics_snapshots.trades_opened IS 'Trades opened so far.';
COMMENT ON COLUMN live_data.metrics_snapshots.trades_closed IS 'Trades closed so far.';
COMMENT ON COLUMN live_data.metrics_snapshots.winning_trades IS 'Closed trades with a gain.';
COMMENT ON COLUMN live_data.metrics_snapshots.losing_trades IS 'Closed trades with a loss.';
COMMENT ON COLUMN live_data.metrics_snapshots.total_pnl_usd IS 'Gain so far, USD.';
COMMENT ON COLUMN live_data.metrics_snapshots.max_dd_usd IS 'Largest fall of the equity from a height, USD.';
COMMENT ON COLUMN live_data.metrics_snapshots.per_symbol_pnl IS 'Gain by symbol, USD.';
COMMENT ON COLUMN live_data.metrics_snapshots.per_symbol_trades_opened IS 'Trades opened, by symbol.';
COMMENT ON COLUMN live_data.metrics_snapshots.per_symbol_trades_closed IS 'Trades closed, by symbol.';
COMMENT ON COLUMN live_data.metrics_snapshots.per_symbol_winning_trades IS 'Closed trades with a gain, by symbol.';
COMMENT ON COLUMN live_data.metrics_snapshots.portfolio_initial_capital IS 'Capital at the start, USD.';
COMMENT ON COLUMN live_data.metrics_snapshots.portfolio_equity IS 'Capital now, USD.';

CREATE TABLE live_data.risk_guard_snapshots (
    snapshot_id bigint PRIMARY KEY REFERENCES live_data.session_snapshots ON DELETE CASCADE,
    session_start_time timestamptz,
    daily_loss_usd double precision CHECK (daily_loss_usd > '-Infinity' AND daily_loss_usd < 'Infinity'),
    per_symbol_loss jsonb,
    per_symbol_trades_rejected jsonb,
    per_symbol_trades_allowed jsonb,
    per_symbol_capital_used jsonb,
    per_symbol_position_count jsonb
);
COMMENT ON TABLE live_data.risk_guard_snapshots IS 'Limits of a session and how far they were used when a snapshot was saved.';
COMMENT ON COLUMN live_data.risk_guard_snapshots.snapshot_id IS 'Snapshot.';
COMMENT ON COLUMN live_data.risk_guard_snapshots.session_start_time IS 'Since when it counts, UTC.';
COMMENT ON COLUMN live_data.risk_guard_snapshots.daily_loss_usd IS 'Loss of the day, USD.';
COMMENT ON COLUMN live_data.risk_guard_snapshots.per_symbol_loss IS 'Loss by symbol, USD.';
COMMENT ON COLUMN live_data.risk_guard_snapshots.per_symbol_trades_rejected IS 'Trades refused, by symbol.';
COMMENT ON COLUMN live_data.risk_guard_snapshots.per_symbol_trades_allowed IS 'Trades allowed, by symbol.';
COMMENT ON COLUMN live_data.risk_guard_snapshots.per_symbol_capital_used IS 'Capital bound, by symbol, USD.';
COMMENT ON COLUMN live_data.risk_guard_snapshots.per_symbol_position_count IS 'Open positions, by symbol.';

GRANT SELECT, INSERT ON live_data.session_snapshots, live_data.position_snapshots, live_data.metrics_snapshots,
    live_data.risk_guard_snapshots TO strikecast_live;
GRANT SELECT ON live_data.session_snapshots, live_data.position_snapshots, live_data.metrics_snapshots,
    live_data.risk_guard_snapshots TO strikecast_pipeline, strikecast_reader;
