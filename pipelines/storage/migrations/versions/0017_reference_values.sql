CREATE TABLE live_data.reference_value (
    symbol text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('index', 'settled')),
    valued_at timestamptz(0) NOT NULL,
    value double precision NOT NULL CHECK (value BETWEEN 1e-12 AND 1e9),
    source text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (symbol, kind, valued_at),
    CONSTRAINT reference_value_is_not_ahead CHECK (valued_at - received_at < interval '1 minute')
);
COMMENT ON TABLE live_data.reference_value IS 'Values that a market settles on, from any producer: those of its index by the second, and settled values by close. The basis is estimated from them and price_log.';
COMMENT ON COLUMN live_data.reference_value.symbol IS 'Symbol in capitals, such as BTC.';
COMMENT ON COLUMN live_data.reference_value.kind IS 'index: a value of the market''s index; settled: the value that markets of a close settled on.';
COMMENT ON COLUMN live_data.reference_value.valued_at IS 'Instant of the value, of a settled value the close, UTC, to the second.';
COMMENT ON COLUMN live_data.reference_value.value IS 'Value, USD.';
COMMENT ON COLUMN live_data.reference_value.source IS 'Producer of the value, such as the name of the index.';
COMMENT ON COLUMN live_data.reference_value.received_at IS 'When the row was inserted, UTC.';

INSERT INTO ops.autovacuum_setting VALUES
    ('^live_data\.reference_value$', 0.05, 0.02, 10, 'grows each second, and loses its old rows each night');
SELECT ops.apply_autovacuum_settings('live_data.reference_value');

GRANT INSERT (symbol, kind, valued_at, value, source) ON live_data.reference_value TO strikecast_producer;
GRANT SELECT ON live_data.reference_value TO strikecast_live, strikecast_pipeline, strikecast_reader;
