CREATE TABLE analytics.desk_backtest (
    desk_backtest_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    exchange text NOT NULL CHECK (exchange IN ('kalshi', 'polymarket', 'simulated')),
    symbol text NOT NULL,
    series_ticker text NOT NULL,
    settlement text NOT NULL CHECK (settlement IN ('mean_60s', 'last_price')),
    model text NOT NULL,
    quoted_from timestamptz NOT NULL,
    quoted_until timestamptz NOT NULL CHECK (quoted_until >= quoted_from),
    rules jsonb NOT NULL,
    assumptions jsonb NOT NULL,
    variant text NOT NULL CHECK (variant ~ '^[0-9a-f]{64}$'),
    variants bigint NOT NULL CHECK (variants > 0),
    quotes bigint NOT NULL CHECK (quotes > 0),
    events bigint NOT NULL CHECK (events > 0),
    days bigint NOT NULL CHECK (days > 0),
    trades bigint NOT NULL CHECK (trades >= 0),
    contracts numeric NOT NULL CHECK (contracts >= 0),
    fees_usd numeric NOT NULL CHECK (fees_usd >= 0),
    gain_usd numeric NOT NULL,
    gain_low_by_event_usd double precision,
    gain_high_by_event_usd double precision,
    gain_low_by_day_usd double precision,
    gain_high_by_day_usd double precision,
    max_drawdown_usd numeric NOT NULL CHECK (max_drawdown_usd >= 0),
    report jsonb NOT NULL,
    code_version text NOT NULL,
    dagster_run_id text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE analytics.desk_backtest IS 'One row per stored backtest of the paper desk on the recorded quotes of a series. A gain means little without its interval and the number of variants tried on the same quotes.';
COMMENT ON COLUMN analytics.desk_backtest.desk_backtest_id IS 'Running number.';
COMMENT ON COLUMN analytics.desk_backtest.exchange IS 'Exchange of the markets; simulated ones have backtests of their own.';
COMMENT ON COLUMN analytics.desk_backtest.symbol IS 'Symbol in capitals, such as BTC.';
COMMENT ON COLUMN analytics.desk_backtest.series_ticker IS 'Series of the markets, such as KXBTCD.';
COMMENT ON COLUMN analytics.desk_backtest.settlement IS 'What its markets settle on: mean_60s or last_price.';
COMMENT ON COLUMN analytics.desk_backtest.model IS 'Model whose probability was pooled with the mid.';
COMMENT ON COLUMN analytics.desk_backtest.quoted_from IS 'Minute of the first quote, UTC.';
COMMENT ON COLUMN analytics.desk_backtest.quoted_until IS 'Minute of the last quote, UTC.';
COMMENT ON COLUMN analytics.desk_backtest.rules IS 'Rules of the desk; money in dollars.';
COMMENT ON COLUMN analytics.desk_backtest.assumptions IS 'What the recording does not tell: contracts at each quote, seconds from a close to its result.';
COMMENT ON COLUMN analytics.desk_backtest.variant IS 'SHA-256 of rules and assumptions: equal for equal ones.';
COMMENT ON COLUMN analytics.desk_backtest.variants IS 'Distinct variants stored for quotes of the series that overlap with these, this one included, when it was stored.';
COMMENT ON COLUMN analytics.desk_backtest.quotes IS 'Quotes that the desk was shown.';
COMMENT ON COLUMN analytics.desk_backtest.events IS 'Events that they are of.';
COMMENT ON COLUMN analytics.desk_backtest.days IS 'Days (UTC) of their closes.';
COMMENT ON COLUMN analytics.desk_backtest.trades IS 'Trades that bought something.';
COMMENT ON COLUMN analytics.desk_backtest.contracts IS 'Contracts bought.';
COMMENT ON COLUMN analytics.desk_backtest.fees_usd IS 'Fees of all fills, dollars.';
COMMENT ON COLUMN analytics.desk_backtest.gain_usd IS 'Gain of all trades after fees, dollars.';
COMMENT ON COLUMN analytics.desk_backtest.gain_low_by_event_usd IS 'Lower end of its 95 % interval, events resampled; NULL without trades, and for fewer than 2 events.';
COMMENT ON COLUMN analytics.desk_backtest.gain_high_by_event_usd IS 'Upper end of its 95 % interval, events resampled; NULL without trades, and for fewer than 2 events.';
COMMENT ON COLUMN analytics.desk_backtest.gain_low_by_day_usd IS 'Lower end of its 95 % interval, days resampled; NULL without trades, and for fewer than 2 days.';
COMMENT ON COLUMN analytics.desk_backtest.gain_high_by_day_usd IS 'Upper end of its 95 % interval, days resampled; NULL without trades, and for fewer than 2 days.';
COMMENT ON COLUMN analytics.desk_backtest.max_drawdown_usd IS 'Largest fall of equity below an earlier value, positions at the bid, dollars.';
COMMENT ON COLUMN analytics.desk_backtest.report IS 'The whole report, as `strikecast desk backtest --json` prints it.';
COMMENT ON COLUMN analytics.desk_backtest.code_version IS 'Version of the code that ran it.';
COMMENT ON COLUMN analytics.desk_backtest.dagster_run_id IS 'The Dagster run; NULL from the command line.';
COMMENT ON COLUMN analytics.desk_backtest.created_at IS 'When, UTC.';

GRANT SELECT, INSERT ON analytics.desk_backtest TO strikecast_pipeline;
GRANT SELECT ON analytics.desk_backtest TO strikecast_live, strikecast_reader;
