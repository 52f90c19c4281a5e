-- NULL in rows of earlier versions, until the first update refits and rewrites them.
ALTER TABLE historical_data.volatility_day
    ADD COLUMN range_3_min double precision[], ADD COLUMN range_10_min double precision[],
    ADD COLUMN range_60_min double precision[], ADD COLUMN range_720_min double precision[],
    ADD CONSTRAINT volatility_day_range_minutes CHECK (
        cardinality(range_3_min) = 1440 AND cardinality(range_10_min) = 1440
        AND cardinality(range_60_min) = 1440 AND cardinality(range_720_min) = 1440
    ) NOT VALID;
-- Random digits do not compress; trying to costs more than the rest of the write.
ALTER TABLE historical_data.volatility_day
    ALTER COLUMN range_3_min SET STORAGE EXTERNAL, ALTER COLUMN range_10_min SET STORAGE EXTERNAL,
    ALTER COLUMN range_60_min SET STORAGE EXTERNAL, ALTER COLUMN range_720_min SET STORAGE EXTERNAL;
COMMENT ON COLUMN historical_data.volatility_day.range_3_min IS 'Decayed mean of the variance of a minute by its high, its low and the close before, over its season, half-life 3 minutes; where high and low are equal, of the squared return times range_ratio of the parameters. NULL in rows of earlier versions.';
COMMENT ON COLUMN historical_data.volatility_day.range_10_min IS 'The same with a half-life of 10 minutes.';
COMMENT ON COLUMN historical_data.volatility_day.range_60_min IS 'The same with a half-life of 60 minutes.';
COMMENT ON COLUMN historical_data.volatility_day.range_720_min IS 'The same with a half-life of 720 minutes.';

CREATE OR REPLACE VIEW historical_data.volatility AS
SELECT day.symbol,
    day.day::timestamp AT TIME ZONE 'UTC' + (state.position - 1) * interval '1 minute' AS opened_at,
    state.usual_return, state.variance_3_min, state.variance_10_min, state.variance_60_min, state.variance_720_min,
    day.parameters_id,
    state.range_3_min, state.range_10_min, state.range_60_min, state.range_720_min
FROM historical_data.volatility_day AS day
CROSS JOIN LATERAL unnest(
    day.usual_return, day.variance_3_min, day.variance_10_min, day.variance_60_min, day.variance_720_min,
    day.range_3_min, day.range_10_min, day.range_60_min, day.range_720_min
) WITH ORDINALITY AS state (
    usual_return, variance_3_min, variance_10_min, variance_60_min, variance_720_min,
    range_3_min, range_10_min, range_60_min, range_720_min, position
)
WHERE state.usual_return <> 'NaN';
COMMENT ON COLUMN historical_data.volatility.range_3_min IS 'As in volatility_day.';
COMMENT ON COLUMN historical_data.volatility.range_10_min IS 'As in volatility_day.';
COMMENT ON COLUMN historical_data.volatility.range_60_min IS 'As in volatility_day.';
COMMENT ON COLUMN historical_data.volatility.range_720_min IS 'As in volatility_day.';

-- The forecast of pipelines/domain/prices/volatility.py; a test compares the two.
CREATE OR REPLACE FUNCTION analytics.forecast_sigma(
    parameters jsonb, variances double precision[], instant timestamptz, ttc_minutes double precision
) RETURNS double precision LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    knots CONSTANT integer[] := ARRAY[1, 2, 5, 10, 15, 30, 45, 60];
    floor_variance CONSTANT double precision := (parameters ->> 'variance_floor')::double precision;
    -- Parameters of earlier versions have four, without ranges.
    states CONSTANT integer := jsonb_array_length(parameters -> 'coefficients' -> 0) - 1;
    begins CONSTANT double precision := extract(epoch FROM instant) / 60;
    at double precision := ln(least(greatest(ttc_minutes, 1), 60));
    knot integer := 1;
    share double precision;
    log_variance double precision;
    season double precision;
BEGIN
    IF cardinality(variances) < states OR array_position(variances[1:states], NULL) IS NOT NULL THEN
        RETURN NULL;
    END IF;
    WHILE knot < 7 AND ln(knots[knot + 1]) <= at LOOP
        knot := knot + 1;
    END LOOP;
    share := (at - ln(knots[knot])) / (ln(knots[knot + 1]) - ln(knots[knot]));
    SELECT sum(
        ((parameters -> 'coefficients' -> (knot - 1) ->> (term - 1))::double precision * (1 - share)
            + (parameters -> 'coefficients' -> knot ->> (term - 1))::double precision * share)
        * CASE WHEN term > states THEN 1 ELSE ln(greatest(variances[term], floor_variance)) END
    ) INTO log_variance
    FROM generate_series(1, states + 1) AS term;
    SELECT sum((least(minute + 1, begins + ttc_minutes) - greatest(minute, begins))
        * analytics.season_of_minute(parameters, minute)) / ttc_minutes
    INTO season
    FROM generate_series(floor(begins)::bigint, ceil(begins + ttc_minutes)::bigint - 1) AS minute;
    RETURN sqrt(greatest(exp(log_variance), floor_variance) * season);
END
$$;
COMMENT ON FUNCTION analytics.forecast_sigma(jsonb, double precision[], timestamptz, double precision) IS
    'Standard deviation of the log return per square root of a minute over the next ttc_minutes (more than 0, at most 60), from parameters and the decayed variances: four by returns, then four by ranges, which parameters of earlier versions do not use. NULL when one that they use is NULL.';

CREATE OR REPLACE FUNCTION analytics.sigma_pct(
    in_symbol text, ttc_seconds double precision, at timestamptz DEFAULT NULL, OUT sigma_pct double precision, OUT state_at timestamptz
) LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    newest historical_data.volatility_day;
    opened CONSTANT timestamp := coalesce(date_trunc('minute', at AT TIME ZONE 'UTC') - interval '1 minute', 'infinity');
    place integer;
    fitted jsonb;
BEGIN
    SELECT v.config INTO fitted FROM analytics.active_generation AS a JOIN analytics.model_version AS v USING (generation)
    WHERE a.symbol = in_symbol AND a.model = 'standardised';
    SELECT * INTO newest FROM historical_data.volatility_day AS d
    WHERE d.symbol = in_symbol AND d.day <= opened ORDER BY d.day DESC LIMIT 1;
    SELECT max(state.position) INTO place FROM unnest(newest.usual_return) WITH ORDINALITY AS state (usual, position)
    WHERE state.usual <> 'NaN' AND newest.day + (state.position - 1) * interval '1 minute' <= opened;
    IF fitted IS NULL OR place IS NULL THEN
        RETURN;
    END IF;
    state_at := (newest.day + place * interval '1 minute') AT TIME ZONE 'UTC';
    sigma_pct := 100 * analytics.forecast_sigma(
        fitted,
        ARRAY[
            newest.variance_3_min[place], newest.variance_10_min[place], newest.variance_60_min[place], newest.variance_720_min[place],
            newest.range_3_min[place], newest.range_10_min[place], newest.range_60_min[place], newest.range_720_min[place]
        ],
        state_at, least(greatest(ttc_seconds, 1), 3600) / 60
    );
END
$$;

COMMENT ON COLUMN analytics.standardised_parameters.parameters IS
    'All of them: season [672] from Monday 00:00 in time_zone, minute_factors [60], coefficients by horizon (states by returns, states by ranges, constant), variance floor, range_ratio, momentum edges. Of earlier versions: season [192], weekdays and weekends in UTC; coefficients without ranges, and no range_ratio.';
