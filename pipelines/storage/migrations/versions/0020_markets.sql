CREATE SCHEMA market_data;
COMMENT ON SCHEMA market_data IS 'Markets of exchanges: contracts, quotes, minute candles and fees.';
GRANT USAGE ON SCHEMA market_data TO strikecast_pipeline, strikecast_live, strikecast_reader, strikecast_backup;

CREATE TABLE market_data.market (
    market_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    exchange text NOT NULL CHECK (exchange IN ('kalshi', 'polymarket', 'simulated')),
    ticker text NOT NULL,
    event_ticker text NOT NULL,
    series_ticker text NOT NULL,
    symbol text NOT NULL,
    settlement text NOT NULL CHECK (settlement IN ('mean_60s', 'last_price')),
    strike_type text NOT NULL CHECK (strike_type IN ('greater', 'greater_or_equal', 'less', 'less_or_equal', 'between')),
    floor_strike numeric,
    cap_strike numeric,
    opens_at timestamptz NOT NULL,
    closes_at timestamptz NOT NULL,
    price_ranges jsonb NOT NULL,
    status text NOT NULL,
    result text CHECK (result IN ('yes', 'no', 'scalar', 'void')),
    settlement_value numeric,
    index_value numeric,
    first_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (exchange, ticker),
    CHECK (opens_at < closes_at),
    CHECK (floor_strike IS NOT NULL OR cap_strike IS NOT NULL)
);
COMMENT ON TABLE market_data.market IS 'Markets as the exchange last described them; one YES/NO contract each.';
COMMENT ON COLUMN market_data.market.market_id IS 'Number of the market here.';
COMMENT ON COLUMN market_data.market.exchange IS 'kalshi, polymarket (imported recordings), or simulated: the exchange of the demonstration.';
COMMENT ON COLUMN market_data.market.ticker IS 'The exchange''s name of the market.';
COMMENT ON COLUMN market_data.market.event_ticker IS 'The exchange''s name of its event: all markets of one close.';
COMMENT ON COLUMN market_data.market.series_ticker IS 'The exchange''s name of its series, such as KXBTCD.';
COMMENT ON COLUMN market_data.market.symbol IS 'Symbol whose price it asks about, such as BTC.';
COMMENT ON COLUMN market_data.market.strike_type IS 'How its value is compared with the strikes.';
COMMENT ON COLUMN market_data.market.floor_strike IS 'As the exchange gives it, exact, USD: 118499.99 with strike_type greater means 118,500 or more. NULL where the type has none.';
COMMENT ON COLUMN market_data.market.cap_strike IS 'As the exchange gives it, exact, USD. NULL where the type has none.';
COMMENT ON COLUMN market_data.market.settlement IS 'What it settles on: mean_60s, the mean of the last 60 one-second values of an index, or last_price.';
COMMENT ON COLUMN market_data.market.opens_at IS 'Start of trading, UTC; in recordings without it, the first quote.';
COMMENT ON COLUMN market_data.market.closes_at IS 'End of trading, and instant that it asks about, UTC.';
COMMENT ON COLUMN market_data.market.price_ranges IS 'Prices that orders may have: a list of {"start", "end", "step"}, dollars as strings; empty where unknown, as in recordings.';
COMMENT ON COLUMN market_data.market.status IS 'The exchange''s status: initialized, active, inactive, closed, determined, disputed, amended or finalized.';
COMMENT ON COLUMN market_data.market.result IS 'The exchange''s result; final when status is finalized.';
COMMENT ON COLUMN market_data.market.settlement_value IS 'What one YES contract is paid, dollars.';
COMMENT ON COLUMN market_data.market.index_value IS 'Value of the index that it settled on, USD.';
COMMENT ON COLUMN market_data.market.first_seen_at IS 'When it was stored first, UTC.';
COMMENT ON COLUMN market_data.market.changed_at IS 'When its row changed last, UTC.';
CREATE INDEX market_by_event ON market_data.market (event_ticker);
CREATE INDEX market_by_close ON market_data.market (series_ticker, closes_at);
CREATE INDEX market_by_symbol ON market_data.market (symbol, closes_at);
CREATE INDEX market_without_result ON market_data.market (closes_at) WHERE result IS NULL OR status <> 'finalized';

CREATE TABLE market_data.market_quote (
    market_id bigint NOT NULL,
    quoted_at timestamptz NOT NULL,
    yes_bid numeric,
    yes_bid_size numeric,
    no_bid numeric,
    no_bid_size numeric,
    volume numeric,
    PRIMARY KEY (market_id, quoted_at),
    CHECK (least(yes_bid, no_bid) > 0 AND greatest(yes_bid, no_bid) < 1),
    CHECK (least(yes_bid_size, no_bid_size, volume) >= 0)
) PARTITION BY RANGE (quoted_at);
COMMENT ON TABLE market_data.market_quote IS 'Best bids of both sides when they change, and at the end of each minute; partitioned by day (UTC). The ask of a side is 1 less the bid of the other.';
COMMENT ON COLUMN market_data.market_quote.market_id IS 'The market.';
COMMENT ON COLUMN market_data.market_quote.quoted_at IS 'When the quote was received, UTC.';
COMMENT ON COLUMN market_data.market_quote.yes_bid IS 'Best bid for YES, dollars; NULL for none.';
COMMENT ON COLUMN market_data.market_quote.yes_bid_size IS 'Contracts at yes_bid; NULL where unknown.';
COMMENT ON COLUMN market_data.market_quote.no_bid IS 'Best bid for NO, dollars; NULL for none.';
COMMENT ON COLUMN market_data.market_quote.no_bid_size IS 'Contracts at no_bid; NULL where unknown.';
COMMENT ON COLUMN market_data.market_quote.volume IS 'Contracts traded so far; NULL where unknown.';

-- No foreign key: checking one takes half of the time of an import, and no role deletes markets.
CREATE TABLE market_data.market_candle (
    market_id bigint NOT NULL,
    ends_at timestamptz NOT NULL,
    yes_bid_open numeric,
    yes_bid_high numeric,
    yes_bid_low numeric,
    yes_bid_close numeric,
    yes_ask_open numeric,
    yes_ask_high numeric,
    yes_ask_low numeric,
    yes_ask_close numeric,
    volume numeric,
    open_interest numeric,
    is_derived boolean NOT NULL DEFAULT false,
    quoted_at timestamptz,
    PRIMARY KEY (market_id, ends_at),
    CHECK (date_trunc('minute', ends_at, 'UTC') = ends_at),
    CHECK (
        least(yes_bid_open, yes_bid_low, yes_bid_high, yes_bid_close, yes_ask_open, yes_ask_low, yes_ask_high, yes_ask_close) > 0
        AND greatest(yes_bid_open, yes_bid_low, yes_bid_high, yes_bid_close, yes_ask_open, yes_ask_low, yes_ask_high, yes_ask_close) < 1
    ),
    CHECK (least(volume, open_interest) >= 0)
);
COMMENT ON TABLE market_data.market_candle IS 'Minutes of the best bid and ask of YES, dollars; NULL where there is none. Scores of the model against the market are computed from them.';
COMMENT ON COLUMN market_data.market_candle.market_id IS 'The market.';
COMMENT ON COLUMN market_data.market_candle.ends_at IS 'End of the minute, UTC.';
COMMENT ON COLUMN market_data.market_candle.yes_bid_open IS 'Best bid for YES at the minute''s start.';
COMMENT ON COLUMN market_data.market_candle.yes_bid_high IS 'Highest best bid for YES.';
COMMENT ON COLUMN market_data.market_candle.yes_bid_low IS 'Lowest best bid for YES; NULL where there was none for a while.';
COMMENT ON COLUMN market_data.market_candle.yes_bid_close IS 'Best bid for YES at the minute''s end.';
COMMENT ON COLUMN market_data.market_candle.yes_ask_open IS 'Best ask of YES at the minute''s start.';
COMMENT ON COLUMN market_data.market_candle.yes_ask_high IS 'Highest best ask of YES; NULL where there was none for a while.';
COMMENT ON COLUMN market_data.market_candle.yes_ask_low IS 'Lowest best ask of YES.';
COMMENT ON COLUMN market_data.market_candle.yes_ask_close IS 'Best ask of YES at the minute''s end.';
COMMENT ON COLUMN market_data.market_candle.volume IS 'Contracts traded in the minute; NULL where unknown.';
COMMENT ON COLUMN market_data.market_candle.open_interest IS 'Open contracts at the minute''s end; NULL where unknown.';
COMMENT ON COLUMN market_data.market_candle.is_derived IS 'Whether it was computed from market_quote, and not published by the exchange, whose candles replace it.';
COMMENT ON COLUMN market_data.market_candle.quoted_at IS 'When the quote that the minute ends with was received, UTC; NULL for candles of the exchange.';

CREATE TABLE market_data.market_fee (
    exchange text NOT NULL,
    series_ticker text NOT NULL,
    event_ticker text NOT NULL DEFAULT '',
    starts_at timestamptz NOT NULL,
    fee_type text NOT NULL,
    multiplier numeric NOT NULL CHECK (multiplier >= 0),
    ends_at timestamptz CHECK (ends_at > starts_at),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (exchange, series_ticker, event_ticker, starts_at)
);
COMMENT ON TABLE market_data.market_fee IS 'Fee terms of series by date, and of single events, as the exchange announced them.';
COMMENT ON COLUMN market_data.market_fee.exchange IS 'The exchange.';
COMMENT ON COLUMN market_data.market_fee.series_ticker IS 'Series of the terms.';
COMMENT ON COLUMN market_data.market_fee.event_ticker IS 'Event whose terms replace those of its series; empty for the series.';
COMMENT ON COLUMN market_data.market_fee.starts_at IS 'From when the terms apply, UTC; -infinity for those in force when first seen.';
COMMENT ON COLUMN market_data.market_fee.ends_at IS 'Until before when they apply, UTC; NULL: until later terms.';
COMMENT ON COLUMN market_data.market_fee.fee_type IS 'The exchange''s name of how the fee is computed.';
COMMENT ON COLUMN market_data.market_fee.multiplier IS 'Factor of the fee; 0 is a waiver.';
COMMENT ON COLUMN market_data.market_fee.seen_at IS 'When the terms were stored, UTC.';

CREATE VIEW market_data.quote AS
SELECT market.exchange, market.symbol, market.series_ticker, market.event_ticker, market.ticker, market.strike_type,
    market.floor_strike, market.cap_strike, market.closes_at, quote.quoted_at, quote.yes_bid, 1 - quote.no_bid AS yes_ask,
    quote.no_bid, 1 - quote.yes_bid AS no_ask, quote.yes_bid_size, quote.no_bid_size AS yes_ask_size, quote.volume
FROM market_data.market_quote AS quote JOIN market_data.market USING (market_id);
COMMENT ON VIEW market_data.quote IS 'market_quote with its market, and both asks, dollars.';
COMMENT ON COLUMN market_data.quote.exchange IS 'The exchange.';
COMMENT ON COLUMN market_data.quote.symbol IS 'Symbol whose price the market asks about.';
COMMENT ON COLUMN market_data.quote.series_ticker IS 'Series of the market.';
COMMENT ON COLUMN market_data.quote.event_ticker IS 'Event of the market.';
COMMENT ON COLUMN market_data.quote.ticker IS 'The market.';
COMMENT ON COLUMN market_data.quote.strike_type IS 'How its value is compared with the strikes.';
COMMENT ON COLUMN market_data.quote.floor_strike IS 'As in market, USD.';
COMMENT ON COLUMN market_data.quote.cap_strike IS 'As in market, USD.';
COMMENT ON COLUMN market_data.quote.closes_at IS 'End of trading, UTC.';
COMMENT ON COLUMN market_data.quote.quoted_at IS 'When the quote was received, UTC.';
COMMENT ON COLUMN market_data.quote.yes_bid IS 'Best bid for YES, dollars; NULL for none.';
COMMENT ON COLUMN market_data.quote.yes_ask IS 'Best ask of YES, dollars: 1 less the bid for NO; NULL for none.';
COMMENT ON COLUMN market_data.quote.no_bid IS 'Best bid for NO, dollars; NULL for none.';
COMMENT ON COLUMN market_data.quote.no_ask IS 'Best ask of NO, dollars: 1 less the bid for YES; NULL for none.';
COMMENT ON COLUMN market_data.quote.yes_bid_size IS 'Contracts at yes_bid; NULL where unknown.';
COMMENT ON COLUMN market_data.quote.yes_ask_size IS 'Contracts at yes_ask; NULL where unknown.';
COMMENT ON COLUMN market_data.quote.volume IS 'Contracts traded so far; NULL where unknown.';

GRANT SELECT ON ALL TABLES IN SCHEMA market_data TO strikecast_pipeline, strikecast_live, strikecast_reader;
