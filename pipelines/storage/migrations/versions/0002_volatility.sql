CREATE TABLE analytics.standardised_parameters (
    parameters_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    symbol text NOT NULL,
    borrowed_from text,
    parameters jsonb NOT NULL,
    fitted_until timestamptz NOT NULL,
    code_version text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE analytics.standardised_parameters IS 'Season, volatility weights and momentum edges of the standardised model; fitted seldom, the newest of a symbol counts.';
COMMENT ON COLUMN analytics.standardised_parameters.parameters_id IS 'Running number.';
COMMENT ON COLUMN analytics.standardised_parameters.symbol IS 'Symbol in capitals, such as BTC.';
COMMENT ON COLUMN analytics.standardised_parameters.borrowed_from IS 'Symbol they were taken from; NULL for its own.';
COMMENT ON COLUMN analytics.standardised_parameters.parameters IS 'All of them: season [192], coefficients by horizon, variance floor, momentum edges.';
COMMENT ON COLUMN analytics.standardised_parameters.fitted_until IS 'Nothing at or after this instant was used, UTC.';
COMMENT ON COLUMN analytics.standardised_parameters.code_version IS 'Version of the code that fitted them.';
COMMENT ON COLUMN analytics.standardised_parameters.created_at IS 'When, UTC.';

CREATE TABLE historical_data.volatility_day (
    symbol text NOT NULL,
    day date NOT NULL,
    parameters_id integer NOT NULL REFERENCES analytics.standardised_parameters,
    usual_return double precision[] NOT NULL,
    variance_3_min double precision[] NOT NULL,
    variance_10_min double precision[] NOT NULL,
    variance_60_min double precision[] NOT NULL,
    variance_720_min double precision[] NOT NULL,
    PRIMARY KEY (symbol, day),
    CONSTRAINT volatility_day_minutes CHECK (
        cardinality(usual_return) = 1440 AND cardinality(variance_3_min) = 1440 AND cardinality(variance_10_min) = 1440
        AND cardinality(variance_60_min) = 1440 AND cardinality(variance_720_min) = 1440
    )
);
-- Random digits do not compress; trying to costs more than the rest of the write.
ALTER TABLE historical_data.volatility_day
    ALTER COLUMN usual_return SET STORAGE EXTERNAL, ALTER COLUMN variance_3_min SET STORAGE EXTERNAL,
    ALTER COLUMN variance_10_min SET STORAGE EXTERNAL, ALTER COLUMN variance_60_min SET STORAGE EXTERNAL,
    ALTER COLUMN variance_720_min SET STORAGE EXTERNAL;
COMMENT ON TABLE historical_data.volatility_day IS 'Volatility state after each minute, one row per day (UTC) with an element per minute; NaN before the first return and after the last bar. See the view volatility for rows.';
COMMENT ON COLUMN historical_data.volatility_day.symbol IS 'Symbol in capitals, such as BTC.';
COMMENT ON COLUMN historical_data.volatility_day.day IS 'Day, UTC.';
COMMENT ON COLUMN historical_data.volatility_day.parameters_id IS 'Parameters whose season is taken out.';
COMMENT ON COLUMN historical_data.volatility_day.usual_return IS 'Decayed mean of the absolute one-minute log return over the root of its season, half-life 720 minutes.';
COMMENT ON COLUMN historical_data.volatility_day.variance_3_min IS 'Decayed mean of the squared one-minute log return over its season, half-life 3 minutes.';
COMMENT ON COLUMN historical_data.volatility_day.variance_10_min IS 'The same with a half-life of 10 minutes.';
COMMENT ON COLUMN historical_data.volatility_day.variance_60_min IS 'The same with a half-life of 60 minutes.';
COMMENT ON COLUMN historical_data.volatility_day.variance_720_min IS 'The same with a half-life of 720 minutes.';

CREATE VIEW historical_data.volatility AS
SELECT day.symbol,
    day.day::timestamp AT TIME ZONE 'UTC' + (state.position - 1) * interval '1 minute' AS opened_at,
    state.usual_return, state.variance_3_min, state.variance_10_min, state.variance_60_min, state.variance_720_min,
    day.parameters_id
FROM historical_data.volatility_day AS day
CROSS JOIN LATERAL unnest(
    day.usual_return, day.variance_3_min, day.variance_10_min, day.variance_60_min, day.variance_720_min
) WITH ORDINALITY AS state (usual_return, variance_3_min, variance_10_min, variance_60_min, variance_720_min, position)
WHERE state.usual_return <> 'NaN';
COMMENT ON VIEW historical_data.volatility IS 'Volatility state after each minute, one row per minute; held where a bar is missing. Filter by symbol, and by day through opened_at of the table volatility_day.';
COMMENT ON COLUMN historical_data.volatility.symbol IS 'Symbol in capitals, such as BTC.';
COMMENT ON COLUMN historical_data.volatility.opened_at IS 'Start of the minute after which the state holds, UTC.';
COMMENT ON COLUMN historical_data.volatility.usual_return IS 'As in volatility_day.';
COMMENT ON COLUMN historical_data.volatility.variance_3_min IS 'As in volatility_day.';
COMMENT ON COLUMN historical_data.volatility.variance_10_min IS 'As in volatility_day.';
COMMENT ON COLUMN historical_data.volatility.variance_60_min IS 'As in volatility_day.';
COMMENT ON COLUMN historical_data.volatility.variance_720_min IS 'As in volatility_day.';
COMMENT ON COLUMN historical_data.volatility.parameters_id IS 'Parameters whose season is taken out.';

CREATE TABLE analytics.standardised_count (
    symbol text NOT NULL,
    week smallint NOT NULL,
    ttc_minutes smallint NOT NULL CHECK (ttc_minutes BETWEEN 1 AND 60),
    parameters_id integer NOT NULL REFERENCES analytics.standardised_parameters,
    counts smallint[] NOT NULL,
    PRIMARY KEY (symbol, week, ttc_minutes)
);
COMMENT ON TABLE analytics.standardised_count IS 'Outcomes counted by standardised move, one row per week and horizon: all that the standardised tables are made of.';
COMMENT ON COLUMN analytics.standardised_count.symbol IS 'Symbol in capitals, such as BTC.';
COMMENT ON COLUMN analytics.standardised_count.week IS 'Weeks since 1970-01-01 (a Thursday) in which the base rows were known to 60 minutes.';
COMMENT ON COLUMN analytics.standardised_count.ttc_minutes IS 'Horizon, minutes.';
COMMENT ON COLUMN analytics.standardised_count.parameters_id IS 'Parameters by which they were counted.';
COMMENT ON COLUMN analytics.standardised_count.counts IS 'Whole counts: 9 groups of momentum over volatility, each with 283 bins of asinh(2 z) of 0.05 (falls, none, rises).';

ALTER TABLE ops.ingestion ADD COLUMN first_changed_at timestamptz;
COMMENT ON COLUMN ops.ingestion.first_changed_at IS 'Oldest bar that it stored or corrected, UTC; NULL when nothing changed (and for ingestions before it was recorded, which count as a change of everything).';
UPDATE ops.ingestion SET first_changed_at = '1970-01-01Z' WHERE inserted + corrected > 0;

CREATE TABLE ops.progress (
    symbol text NOT NULL,
    asset text NOT NULL,
    ingestion_id bigint NOT NULL,
    parameters_id integer NOT NULL REFERENCES analytics.standardised_parameters,
    done_until timestamptz NOT NULL,
    PRIMARY KEY (symbol, asset)
);
COMMENT ON TABLE ops.progress IS 'How far an asset that grows by increments has come, one row per symbol and asset.';
COMMENT ON COLUMN ops.progress.symbol IS 'Symbol in capitals, such as BTC.';
COMMENT ON COLUMN ops.progress.asset IS 'Asset.';
COMMENT ON COLUMN ops.progress.ingestion_id IS 'Newest ingestion that it has taken in.';
COMMENT ON COLUMN ops.progress.parameters_id IS 'Parameters by which it was computed.';
COMMENT ON COLUMN ops.progress.done_until IS 'All bars that had closed by then are taken in, UTC.';

GRANT SELECT, INSERT, UPDATE ON ops.progress TO strikecast_pipeline;
GRANT SELECT ON ops.progress TO strikecast_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON historical_data.volatility_day, analytics.standardised_count TO strikecast_pipeline;
GRANT SELECT, INSERT ON analytics.standardised_parameters TO strikecast_pipeline;
GRANT SELECT ON historical_data.volatility TO strikecast_pipeline;
GRANT SELECT ON historical_data.volatility_day, historical_data.volatility TO strikecast_live, strikecast_reader;
GRANT SELECT ON analytics.standardised_parameters, analytics.standardised_count TO strikecast_reader;
