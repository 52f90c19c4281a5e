-- The season of a minute, by `analytics.standardised_parameters`; that of earlier versions has no time zone.
CREATE FUNCTION analytics.season_of_minute(parameters jsonb, minute bigint) RETURNS double precision
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT (parameters -> 'season' ->> CASE WHEN parameters ? 'time_zone' THEN
            96 * (extract(isodow FROM clock.local)::integer - 1) + quarter.of_day
        ELSE
            quarter.of_day + CASE WHEN extract(isodow FROM clock.local) >= 6 THEN 96 ELSE 0 END
        END)::double precision
        * coalesce((parameters -> 'minute_factors' ->> extract(minute FROM clock.local)::integer)::double precision, 1)
    FROM (
        SELECT to_timestamp(60.0 * minute) AT TIME ZONE coalesce(parameters ->> 'time_zone', 'UTC') AS local
    ) AS clock
    CROSS JOIN LATERAL (
        SELECT 4 * extract(hour FROM clock.local)::integer + extract(minute FROM clock.local)::integer / 15 AS of_day
    ) AS quarter
$$;
COMMENT ON FUNCTION analytics.season_of_minute(jsonb, bigint) IS
    'Relative variance of a minute since 1970-01-01 UTC: that of its quarter-hour of the week times that of its minute of the hour, in the time zone of the parameters.';

-- The forecast of pipelines/domain/prices/volatility.py; a test compares the two.
CREATE OR REPLACE FUNCTION analytics.forecast_sigma(
    parameters jsonb, variances double precision[], instant timestamptz, ttc_minutes double precision
) RETURNS double precision LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    knots CONSTANT integer[] := ARRAY[1, 2, 5, 10, 15, 30, 45, 60];
    floor_variance CONSTANT double precision := (parameters ->> 'variance_floor')::double precision;
    begins CONSTANT double precision := extract(epoch FROM instant) / 60;
    at double precision := ln(least(greatest(ttc_minutes, 1), 60));
    knot integer := 1;
    share double precision;
    log_variance double precision;
    season double precision;
BEGIN
    WHILE knot < 7 AND ln(knots[knot + 1]) <= at LOOP
        knot := knot + 1;
    END LOOP;
    share := (at - ln(knots[knot])) / (ln(knots[knot + 1]) - ln(knots[knot]));
    SELECT sum(
        ((parameters -> 'coefficients' -> (knot - 1) ->> (term - 1))::double precision * (1 - share)
            + (parameters -> 'coefficients' -> knot ->> (term - 1))::double precision * share)
        * CASE WHEN term > cardinality(variances) THEN 1 ELSE ln(greatest(variances[term], floor_variance)) END
    ) INTO log_variance
    FROM generate_series(1, cardinality(variances) + 1) AS term;
    SELECT sum((least(minute + 1, begins + ttc_minutes) - greatest(minute, begins))
        * analytics.season_of_minute(parameters, minute)) / ttc_minutes
    INTO season
    FROM generate_series(floor(begins)::bigint, ceil(begins + ttc_minutes)::bigint - 1) AS minute;
    RETURN sqrt(greatest(exp(log_variance), floor_variance) * season);
END
$$;

COMMENT ON COLUMN analytics.standardised_parameters.parameters IS
    'All of them: season [672] from Monday 00:00 in time_zone, minute_factors [60], coefficients by horizon, variance floor, momentum edges. Of earlier versions: season [192], weekdays and weekends in UTC.';
