CREATE TABLE live_data.desk_inputs (
    campaign text NOT NULL CHECK (campaign <> ''),
    first_input bigint NOT NULL CHECK (first_input > 0),
    last_input bigint NOT NULL,
    newest_at timestamptz NOT NULL,
    session_id bigint NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (campaign, first_input),
    CHECK (last_input >= first_input)
);
-- It is compressed already.
ALTER TABLE live_data.desk_inputs ALTER COLUMN content SET STORAGE EXTERNAL;
COMMENT ON TABLE live_data.desk_inputs IS 'Journal of the paper desk: all that it was told, in order. Replayed from a saved state they give the same decisions.';
COMMENT ON COLUMN live_data.desk_inputs.campaign IS 'Name of the paper account.';
COMMENT ON COLUMN live_data.desk_inputs.first_input IS 'Number of the first input in it; a campaign''s first is 1.';
COMMENT ON COLUMN live_data.desk_inputs.last_input IS 'Number of the last input in it.';
COMMENT ON COLUMN live_data.desk_inputs.newest_at IS 'Time of the desk after them, UTC.';
COMMENT ON COLUMN live_data.desk_inputs.session_id IS 'Live session that saved them.';
COMMENT ON COLUMN live_data.desk_inputs.content IS 'The inputs: a JSON list, compressed by zlib.';

CREATE TABLE live_data.desk_event (
    campaign text NOT NULL CHECK (campaign <> ''),
    event bigint NOT NULL CHECK (event >= 0),
    at timestamptz NOT NULL,
    kind text NOT NULL,
    reason text NOT NULL,
    trade bigint,
    symbol text,
    ticker text,
    side text CHECK (side IN ('yes', 'no')),
    price numeric,
    contracts numeric,
    fee_usd numeric,
    PRIMARY KEY (campaign, event)
);
COMMENT ON TABLE live_data.desk_event IS 'What the paper desk did, in order, and why.';
COMMENT ON COLUMN live_data.desk_event.campaign IS 'Name of the paper account.';
COMMENT ON COLUMN live_data.desk_event.event IS 'Running number within the campaign; 0 is its capital.';
COMMENT ON COLUMN live_data.desk_event.at IS 'When, UTC, by the input that caused it.';
COMMENT ON COLUMN live_data.desk_event.kind IS 'capital, signal, work, buy, sale_signal, sell, cancel, end, settle, refund, revise, breach, kept, stop, start, rules or clock.';
COMMENT ON COLUMN live_data.desk_event.reason IS 'Why, in words; empty where the kind says it.';
COMMENT ON COLUMN live_data.desk_event.trade IS 'Number of the trade; NULL where it concerns none.';
COMMENT ON COLUMN live_data.desk_event.symbol IS 'Symbol of the trade.';
COMMENT ON COLUMN live_data.desk_event.ticker IS 'Market of the trade.';
COMMENT ON COLUMN live_data.desk_event.side IS 'Side of the trade, yes or no.';
COMMENT ON COLUMN live_data.desk_event.price IS 'Dollars per contract of the side: the limit of an order, or the price of a fill.';
COMMENT ON COLUMN live_data.desk_event.contracts IS 'Contracts ordered, filled, cancelled or paid.';
COMMENT ON COLUMN live_data.desk_event.fee_usd IS 'Fee of a fill, USD, after rounding and rebate.';

CREATE TABLE live_data.desk_ledger (
    campaign text NOT NULL,
    event bigint NOT NULL,
    account text NOT NULL CHECK (account IN ('cash', 'positions', 'fees', 'result', 'capital')),
    amount_usd numeric NOT NULL CHECK (amount_usd > '-Infinity' AND amount_usd < 'Infinity'),
    PRIMARY KEY (campaign, event, account),
    FOREIGN KEY (campaign, event) REFERENCES live_data.desk_event
);
COMMENT ON TABLE live_data.desk_ledger IS 'Book of double entry of the paper desk: the amounts of each event add up to zero.';
COMMENT ON COLUMN live_data.desk_ledger.campaign IS 'Name of the paper account.';
COMMENT ON COLUMN live_data.desk_ledger.event IS 'Event that was posted.';
COMMENT ON COLUMN live_data.desk_ledger.account IS 'cash, positions (open ones at cost, without fees), fees, result (gains are negative), capital.';
COMMENT ON COLUMN live_data.desk_ledger.amount_usd IS 'Amount, USD; debits are positive.';

CREATE TABLE live_data.desk_trade (
    campaign text NOT NULL CHECK (campaign <> ''),
    trade bigint NOT NULL CHECK (trade > 0),
    symbol text NOT NULL,
    series_ticker text NOT NULL,
    event_ticker text NOT NULL,
    ticker text NOT NULL,
    side text NOT NULL CHECK (side IN ('yes', 'no')),
    stage text NOT NULL CHECK (stage IN ('signalled', 'working', 'open', 'closed', 'settled', 'refunded', 'cancelled')),
    closes_at timestamptz NOT NULL,
    signalled_at timestamptz NOT NULL,
    opened_at timestamptz,
    ended_at timestamptz,
    probability numeric NOT NULL,
    edge_usd numeric NOT NULL,
    limit_usd numeric NOT NULL,
    ordered_contracts numeric NOT NULL,
    bought_contracts numeric NOT NULL,
    sold_contracts numeric NOT NULL,
    cost_usd numeric NOT NULL,
    sales_usd numeric NOT NULL,
    fees_usd numeric NOT NULL,
    paid_usd numeric,
    gain_usd numeric NOT NULL,
    last_bid_usd numeric,
    result text CHECK (result IN ('yes', 'no', 'scalar', 'void')),
    settlement_value numeric,
    PRIMARY KEY (campaign, trade)
);
COMMENT ON TABLE live_data.desk_trade IS 'Trades of the paper desk, as they were when last saved.';
COMMENT ON COLUMN live_data.desk_trade.campaign IS 'Name of the paper account.';
COMMENT ON COLUMN live_data.desk_trade.trade IS 'Running number within the campaign.';
COMMENT ON COLUMN live_data.desk_trade.symbol IS 'Symbol whose price the market asks about.';
COMMENT ON COLUMN live_data.desk_trade.series_ticker IS 'Series of the market.';
COMMENT ON COLUMN live_data.desk_trade.event_ticker IS 'Event of the market.';
COMMENT ON COLUMN live_data.desk_trade.ticker IS 'The market.';
COMMENT ON COLUMN live_data.desk_trade.side IS 'Side that was bought, yes or no.';
COMMENT ON COLUMN live_data.desk_trade.stage IS 'signalled, working (the entry is at the market), open, closed (all sold), settled, refunded (the market was voided), cancelled (nothing was filled).';
COMMENT ON COLUMN live_data.desk_trade.closes_at IS 'Close of the market, UTC.';
COMMENT ON COLUMN live_data.desk_trade.signalled_at IS 'When it was decided, UTC.';
COMMENT ON COLUMN live_data.desk_trade.opened_at IS 'When the first contracts were bought, UTC; NULL before.';
COMMENT ON COLUMN live_data.desk_trade.ended_at IS 'When it ended, UTC; NULL before.';
COMMENT ON COLUMN live_data.desk_trade.probability IS 'Probability that the side pays, when it was decided, a fraction.';
COMMENT ON COLUMN live_data.desk_trade.edge_usd IS 'Edge when it was decided, USD per contract: probability less ask less fee.';
COMMENT ON COLUMN live_data.desk_trade.limit_usd IS 'Limit of the entry, USD per contract.';
COMMENT ON COLUMN live_data.desk_trade.ordered_contracts IS 'Contracts of the entry.';
COMMENT ON COLUMN live_data.desk_trade.bought_contracts IS 'Contracts bought so far.';
COMMENT ON COLUMN live_data.desk_trade.sold_contracts IS 'Contracts sold before the close.';
COMMENT ON COLUMN live_data.desk_trade.cost_usd IS 'Paid for all contracts bought, USD, without fees.';
COMMENT ON COLUMN live_data.desk_trade.sales_usd IS 'Received for the contracts sold, USD, without fees.';
COMMENT ON COLUMN live_data.desk_trade.fees_usd IS 'Fees of all fills, USD.';
COMMENT ON COLUMN live_data.desk_trade.paid_usd IS 'Paid by the market''s result, USD; NULL before, and where all contracts were sold.';
COMMENT ON COLUMN live_data.desk_trade.gain_usd IS 'Gain so far, USD: sales and payment less the cost of these contracts and all fees.';
COMMENT ON COLUMN live_data.desk_trade.last_bid_usd IS 'Newest known bid of the side, USD per contract; NULL where there was none.';
COMMENT ON COLUMN live_data.desk_trade.result IS 'The market''s result; NULL before, and where all contracts were sold.';
COMMENT ON COLUMN live_data.desk_trade.settlement_value IS 'What one YES contract was paid, USD; NULL where the result says it.';

CREATE TABLE live_data.desk_switch (
    campaign text NOT NULL CHECK (campaign <> ''),
    switch_id bigint GENERATED ALWAYS AS IDENTITY,
    switched_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    stopped boolean NOT NULL,
    reason text NOT NULL CHECK (reason <> ''),
    switched_by text NOT NULL CHECK (switched_by <> ''),
    PRIMARY KEY (campaign, switch_id)
);
COMMENT ON TABLE live_data.desk_switch IS 'Orders of operators to the paper desk; the newest of a campaign applies.';
COMMENT ON COLUMN live_data.desk_switch.campaign IS 'Name of the paper account.';
COMMENT ON COLUMN live_data.desk_switch.switch_id IS 'Running number.';
COMMENT ON COLUMN live_data.desk_switch.switched_at IS 'When, UTC.';
COMMENT ON COLUMN live_data.desk_switch.stopped IS 'Whether no trades are entered from then on.';
COMMENT ON COLUMN live_data.desk_switch.reason IS 'Why, in words.';
COMMENT ON COLUMN live_data.desk_switch.switched_by IS 'From where the order came.';

CREATE VIEW live_data.desk_balance AS
SELECT campaign, account, sum(amount_usd) AS balance_usd, max(event) AS last_event
FROM live_data.desk_ledger GROUP BY campaign, account;
COMMENT ON VIEW live_data.desk_balance IS 'Balance of each account of the paper desk; those of a campaign add up to zero.';
COMMENT ON COLUMN live_data.desk_balance.campaign IS 'Name of the paper account.';
COMMENT ON COLUMN live_data.desk_balance.account IS 'cash, positions, fees, result or capital.';
COMMENT ON COLUMN live_data.desk_balance.balance_usd IS 'Balance, USD; debits are positive.';
COMMENT ON COLUMN live_data.desk_balance.last_event IS 'Newest event that was posted to it.';

-- A save is one transaction that begins with this: two desks never save the same campaign from the same inputs on.
CREATE FUNCTION live_data.lock_desk(of_session bigint, of_campaign text, from_inputs bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    saved bigint;
BEGIN
    PERFORM FROM live_data.session WHERE session_id = of_session AND status = 'running' FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'session % is not recorded as running', of_session USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT loop_count INTO saved FROM live_data.session_snapshots
    WHERE session_id = 'desk:' || of_campaign ORDER BY snapshot_id DESC LIMIT 1;
    IF coalesce(saved, 0) <> from_inputs THEN
        RAISE EXCEPTION 'campaign % is saved up to input %, not %', of_campaign, coalesce(saved, 0), from_inputs
            USING ERRCODE = 'serialization_failure';
    END IF;
END
$$;
COMMENT ON FUNCTION live_data.lock_desk(bigint, text, bigint) IS 'Lock the live session until the end of the transaction; fails unless it is recorded as running and the campaign is saved up to this input.';
REVOKE ALL ON FUNCTION live_data.lock_desk(bigint, text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION live_data.lock_desk(bigint, text, bigint) TO strikecast_live;

GRANT SELECT, INSERT ON live_data.desk_inputs, live_data.desk_event, live_data.desk_ledger, live_data.desk_trade TO strikecast_live;
GRANT UPDATE ON live_data.desk_trade TO strikecast_live;
GRANT INSERT (campaign, stopped, reason, switched_by) ON live_data.desk_switch TO strikecast_pipeline;
GRANT SELECT ON live_data.desk_inputs, live_data.desk_event, live_data.desk_ledger, live_data.desk_trade, live_data.desk_switch,
    live_data.desk_balance TO strikecast_live, strikecast_pipeline, strikecast_reader;

INSERT INTO ops.autovacuum_setting VALUES
    ('^live_data\.desk_inputs$', 0.05, 0.02, 10, 'grows each minute, and loses its old rows each night'),
    ('^live_data\.desk_trade$', 0.05, 0.02, 10, 'active trades are updated each minute');
SELECT ops.apply_autovacuum_settings();
