CREATE TABLE market_data.quoted_basis (
    exchange text NOT NULL,
    series_ticker text NOT NULL,
    counted_until timestamptz NOT NULL,
    sums double precision[] NOT NULL,
    quotes double precision NOT NULL CHECK (quotes >= 0),
    PRIMARY KEY (exchange, series_ticker)
);
COMMENT ON TABLE market_data.quoted_basis IS 'What the live session has counted of the quotes of each series for the basis, so that the next session continues.';
COMMENT ON COLUMN market_data.quoted_basis.exchange IS 'The exchange, as in market_data.market.';
COMMENT ON COLUMN market_data.quoted_basis.series_ticker IS 'The series, such as KXBTCD.';
COMMENT ON COLUMN market_data.quoted_basis.counted_until IS 'Instant of the newest quotes counted, UTC.';
COMMENT ON COLUMN market_data.quoted_basis.sums IS 'Weighted sum of squared differences between mid and probability for each basis from -10 to +10 basis points by 0.5.';
COMMENT ON COLUMN market_data.quoted_basis.quotes IS 'Number of quotes, by weight.';

GRANT SELECT, INSERT, UPDATE ON market_data.quoted_basis TO strikecast_live;
GRANT SELECT ON market_data.quoted_basis TO strikecast_pipeline, strikecast_reader;
