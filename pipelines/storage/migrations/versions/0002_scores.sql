CREATE TABLE analytics.score_run (
    score_run_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    symbol text NOT NULL,
    origin text NOT NULL CHECK (origin IN ('walk_forward', 'live')),
    scored_from timestamptz NOT NULL,
    scored_until timestamptz NOT NULL CHECK (scored_until > scored_from),
    plan jsonb NOT NULL,
    code_version text NOT NULL,
    dagster_run_id text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE analytics.score_run IS 'One row per scoring of models on outcomes that they had not seen.';
COMMENT ON COLUMN analytics.score_run.score_run_id IS 'Running number.';
COMMENT ON COLUMN analytics.score_run.symbol IS 'Symbol in capitals, such as BTC.';
COMMENT ON COLUMN analytics.score_run.origin IS 'walk_forward: models fitted on stored bars before, scored on those after. live: sampled answers of the live session.';
COMMENT ON COLUMN analytics.score_run.scored_from IS 'First instant of a forecast, UTC.';
COMMENT ON COLUMN analytics.score_run.scored_until IS 'No forecast was made at or after it, UTC.';
COMMENT ON COLUMN analytics.score_run.plan IS 'Folds, strikes, horizons, distance of forecasts.';
COMMENT ON COLUMN analytics.score_run.code_version IS 'Version of the code that scored.';
COMMENT ON COLUMN analytics.score_run.dagster_run_id IS 'The Dagster run; NULL from the command line.';
COMMENT ON COLUMN analytics.score_run.created_at IS 'When, UTC.';

CREATE TABLE analytics.score (
    score_run_id integer NOT NULL REFERENCES analytics.score_run ON DELETE CASCADE,
    model text NOT NULL,
    dimension text NOT NULL,
    level text NOT NULL,
    n bigint NOT NULL CHECK (n > 0),
    mean_probability double precision NOT NULL,
    happened double precision NOT NULL,
    brier double precision,
    log_loss double precision,
    sharpness double precision,
    skill double precision,
    skill_low double precision,
    skill_high double precision,
    PRIMARY KEY (score_run_id, model, dimension, level)
);
COMMENT ON TABLE analytics.score IS 'Scores of a scoring run, by model and by what the cases are grouped by. Probabilities are fractions.';
COMMENT ON COLUMN analytics.score.score_run_id IS 'Scoring run.';
COMMENT ON COLUMN analytics.score.model IS 'Model; momentum_source is momentum in the source profile.';
COMMENT ON COLUMN analytics.score.dimension IS 'all, ttc_minutes, move_bps, volatility_band, hour, momentum_band, quarter, reliability (bins of the forecast), band_60_min_50_bps (volatility band, |move| of 0.5 % or more in 60 minutes).';
COMMENT ON COLUMN analytics.score.level IS 'Value of the dimension; volatility bands are tenths, 0 the calmest; reliability is band/bin with band all or 0..9.';
COMMENT ON COLUMN analytics.score.n IS 'Cases; minutes and strikes of one time are far from independent.';
COMMENT ON COLUMN analytics.score.mean_probability IS 'Mean forecast.';
COMMENT ON COLUMN analytics.score.happened IS 'Share that happened; mean_probability less this is calibration in the large.';
COMMENT ON COLUMN analytics.score.brier IS 'Mean squared difference of forecast and outcome.';
COMMENT ON COLUMN analytics.score.log_loss IS 'Mean of minus the log of the probability given to what happened (forecasts clipped to 1e-6).';
COMMENT ON COLUMN analytics.score.sharpness IS 'Variance of the forecasts.';
COMMENT ON COLUMN analytics.score.skill IS '1 - brier / brier of climatology on the same cases; dimensions all and quarter.';
COMMENT ON COLUMN analytics.score.skill_low IS 'Lower end of its 95 % interval, weeks resampled.';
COMMENT ON COLUMN analytics.score.skill_high IS 'Upper end of its 95 % interval, weeks resampled.';

CREATE TABLE live_data.answer (
    symbol text NOT NULL,
    answered_at timestamptz NOT NULL,
    market_close timestamptz NOT NULL,
    ttc_seconds smallint NOT NULL,
    price double precision NOT NULL,
    model text NOT NULL,
    generation integer NOT NULL,
    bucket smallint,
    sigma_pct double precision,
    strikes double precision[] NOT NULL,
    prob_beyond real[] NOT NULL,
    status text NOT NULL,
    closing_price double precision,
    PRIMARY KEY (symbol, answered_at),
    CONSTRAINT answer_same_length CHECK (cardinality(strikes) = cardinality(prob_beyond)),
    CONSTRAINT answer_before_close CHECK (answered_at < market_close)
) PARTITION BY RANGE (answered_at);
COMMENT ON TABLE live_data.answer IS 'Answers of the live session, one row per symbol and minute, partitioned by day (UTC). See answer_strike for rows per strike.';
COMMENT ON COLUMN live_data.answer.symbol IS 'Symbol in capitals, such as BTC.';
COMMENT ON COLUMN live_data.answer.answered_at IS 'When it was given, UTC.';
COMMENT ON COLUMN live_data.answer.market_close IS 'When its market closes, UTC.';
COMMENT ON COLUMN live_data.answer.ttc_seconds IS 'Seconds to the close.';
COMMENT ON COLUMN live_data.answer.price IS 'Price then, USD.';
COMMENT ON COLUMN live_data.answer.model IS 'Model that answered.';
COMMENT ON COLUMN live_data.answer.generation IS 'Its generation.';
COMMENT ON COLUMN live_data.answer.bucket IS 'Its bucket; NULL when the baseline answered.';
COMMENT ON COLUMN live_data.answer.sigma_pct IS 'Forecast volatility, percent per square root of a minute; NULL for a model without.';
COMMENT ON COLUMN live_data.answer.strikes IS 'Strikes, USD, lowest first.';
COMMENT ON COLUMN live_data.answer.prob_beyond IS 'Percent: the price closes at or past the strike, seen from the price then; NaN without an answer.';
COMMENT ON COLUMN live_data.answer.status IS 'ok, stale or degraded, as in the file.';
COMMENT ON COLUMN live_data.answer.closing_price IS 'Price at the market''s close, USD; NULL until the answer is scored, or when no price is known within 90 s before it.';

CREATE VIEW live_data.answer_strike AS
SELECT answer.symbol, answer.answered_at, answer.market_close, answer.ttc_seconds, answer.price, answer.model,
    answer.generation, cell.strike, cell.prob_beyond,
    CASE WHEN cell.strike > answer.price THEN answer.closing_price >= cell.strike ELSE answer.closing_price <= cell.strike END AS happened
FROM live_data.answer
CROSS JOIN LATERAL unnest(answer.strikes, answer.prob_beyond) AS cell (strike, prob_beyond)
WHERE cell.prob_beyond <> 'NaN';
COMMENT ON VIEW live_data.answer_strike IS 'Answers of the live session, one row per strike.';
COMMENT ON COLUMN live_data.answer_strike.symbol IS 'Symbol in capitals, such as BTC.';
COMMENT ON COLUMN live_data.answer_strike.answered_at IS 'When it was given, UTC.';
COMMENT ON COLUMN live_data.answer_strike.market_close IS 'When its market closes, UTC.';
COMMENT ON COLUMN live_data.answer_strike.ttc_seconds IS 'Seconds to the close.';
COMMENT ON COLUMN live_data.answer_strike.price IS 'Price then, USD.';
COMMENT ON COLUMN live_data.answer_strike.model IS 'Model that answered.';
COMMENT ON COLUMN live_data.answer_strike.generation IS 'Its generation.';
COMMENT ON COLUMN live_data.answer_strike.strike IS 'Strike, USD.';
COMMENT ON COLUMN live_data.answer_strike.prob_beyond IS 'Percent: the price closes at or past the strike.';
COMMENT ON COLUMN live_data.answer_strike.happened IS 'Whether it did; NULL while the closing price is not known.';

-- Partitions belong to the owner; the live session asks for one by day and gets nothing else of the owner's.
CREATE FUNCTION live_data.create_answer_partition(for_day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    table_name text := 'answer_' || to_char(for_day, 'YYYYMMDD');
BEGIN
    IF for_day IS NULL OR abs(for_day - current_date) > 3660 THEN
        RAISE EXCEPTION 'day % is not within ten years', for_day USING ERRCODE = '22023';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('strikecast.answer'), hashtext(table_name));
    IF to_regclass(format('live_data.%I', table_name)) IS NULL THEN
        EXECUTE format('CREATE TABLE live_data.%I (LIKE live_data.answer INCLUDING ALL)', table_name);
        EXECUTE format('ALTER TABLE live_data.answer ATTACH PARTITION live_data.%I FOR VALUES FROM (%L) TO (%L)',
            table_name, for_day::timestamp AT TIME ZONE 'UTC', (for_day + 1)::timestamp AT TIME ZONE 'UTC');
        EXECUTE format('COMMENT ON TABLE live_data.%I IS %L', table_name, 'Answers given on ' || for_day || ' (UTC).');
    END IF;
END
$$;
COMMENT ON FUNCTION live_data.create_answer_partition(date) IS 'Create a day''s partition of answer, unless it exists.';
REVOKE ALL ON FUNCTION live_data.create_answer_partition(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION live_data.create_answer_partition(date) TO strikecast_live, strikecast_pipeline;

GRANT SELECT, INSERT ON analytics.score_run, analytics.score TO strikecast_pipeline;
GRANT SELECT ON analytics.score_run, analytics.score TO strikecast_reader;
GRANT SELECT, INSERT ON live_data.answer TO strikecast_live;
GRANT SELECT ON live_data.answer, live_data.answer_strike TO strikecast_pipeline, strikecast_reader;
GRANT UPDATE (closing_price) ON live_data.answer TO strikecast_pipeline;
