-- The forecast of pipelines/domain/volatility.py; a test compares the two.
CREATE FUNCTION analytics.forecast_sigma(
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
        * (parameters -> 'season' ->> ((minute / 15) % 96 + CASE WHEN (minute / 1440 + 3) % 7 >= 5 THEN 96 ELSE 0 END)::integer)::double precision)
        / ttc_minutes
    INTO season
    FROM generate_series(floor(begins)::bigint, ceil(begins + ttc_minutes)::bigint - 1) AS minute;
    RETURN sqrt(greatest(exp(log_variance), floor_variance) * season);
END
$$;
COMMENT ON FUNCTION analytics.forecast_sigma(jsonb, double precision[], timestamptz, double precision) IS
    'Standard deviation of the log return per square root of a minute over the next ttc_minutes (more than 0, at most 60), from parameters and the four decayed variances.';

CREATE FUNCTION analytics.sigma_pct(
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
        ARRAY[newest.variance_3_min[place], newest.variance_10_min[place], newest.variance_60_min[place], newest.variance_720_min[place]],
        state_at, least(greatest(ttc_seconds, 1), 3600) / 60
    );
END
$$;
COMMENT ON FUNCTION analytics.sigma_pct(text, double precision, timestamptz) IS
    'Volatility forecast for the next ttc_seconds, percent per square root of a minute, from the state after the newest bar that had closed at that time (by default the newest of all), and when that bar closed. NULL without a published standardised model.';

DROP FUNCTION analytics.strike_probability(text, double precision, double precision, double precision, double precision);
-- Reads exactly as pipelines/domain/lookup.py does; a test compares the two.
CREATE FUNCTION analytics.strike_probability(
    in_symbol text, price double precision, strike double precision, ttc_seconds double precision,
    momentum_score double precision DEFAULT NULL, using_model text DEFAULT NULL, given_sigma_pct double precision DEFAULT NULL,
    OUT prob_beyond numeric, OUT prob_within numeric, OUT prob_beyond_low numeric, OUT prob_beyond_high numeric,
    OUT direction text, OUT move_bps numeric, OUT model text, OUT bucket smallint, OUT sigma_pct double precision,
    OUT clamped boolean, OUT n_eff real, OUT independent_outcomes real, OUT model_version integer, OUT reason text
) LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    version analytics.model_version;
    score CONSTANT double precision := CASE WHEN momentum_score NOT IN ('NaN', 'Infinity', '-Infinity') THEN momentum_score END;
    state_at timestamptz;
    group_sigma double precision;
    ttc_low smallint;
    ttc_high smallint;
    share double precision := 0;
    place double precision;
    node integer;
    low_value double precision;
    high_value double precision;
    low_evidence double precision;
    high_evidence double precision;
    low_n_eff real;
    high_n_eff real;
    bps double precision;
    p double precision;
    centre double precision;
    half double precision;
    z CONSTANT double precision := 1.959963984540054;
BEGIN
    clamped := false;
    IF price IS NULL OR strike IS NULL OR ttc_seconds IS NULL OR NOT (price > 0 AND strike > 0 AND ttc_seconds >= 0)
        OR price >= 'Infinity' OR strike >= 'Infinity' OR ttc_seconds >= 'Infinity' THEN
        reason := 'price and strike must be positive, ttc_seconds must not be negative';
        RETURN;
    END IF;
    direction := CASE WHEN strike > price THEN 'above' ELSE 'below' END;
    bps := abs(strike - price) / price * 10000;
    move_bps := round(bps::numeric, 4);
    model := coalesce(using_model, (SELECT c.champion FROM analytics.champion AS c WHERE c.symbol = in_symbol));
    SELECT v.* INTO version
    FROM analytics.active_generation AS a JOIN analytics.model_version AS v USING (generation)
    WHERE a.symbol = in_symbol AND a.model = strike_probability.model;
    IF NOT FOUND THEN
        reason := 'no generation is published for ' || coalesce(in_symbol, 'NULL') || coalesce(', model ' || model, '');
        RETURN;
    END IF;
    model_version := version.generation;

    -- The bucket, and the strike's place on the axis.
    IF version.axis = 'standardised_move' THEN
        sigma_pct := coalesce(given_sigma_pct, (analytics.sigma_pct(in_symbol, ttc_seconds)).sigma_pct);
        IF sigma_pct IS NULL OR NOT (sigma_pct > 0 AND sigma_pct < 'Infinity') THEN
            reason := 'volatility is not known: give given_sigma_pct';
            RETURN;
        END IF;
        bucket := 0;
        IF cardinality(version.buckets) > 1 AND score IS NOT NULL THEN
            group_sigma := coalesce(given_sigma_pct, (analytics.sigma_pct(in_symbol, 1800)).sigma_pct);
            SELECT 1 + count(*) INTO bucket FROM jsonb_array_elements_text(version.config -> 'momentum_edges') AS edge (value)
            WHERE edge.value::double precision < score / group_sigma;
        END IF;
        IF strike = price THEN
            place := 0;
        ELSIF ttc_seconds > 0 THEN
            place := 100 * asinh(2 * abs(ln(strike / price)) / (sigma_pct / 100 * sqrt(least(ttc_seconds, version.ttc_max_seconds) / 60)));
        ELSE
            place := 'Infinity';
        END IF;
    ELSE
        place := bps;
        IF version.profile = 'sound' AND ttc_seconds > 0 AND ttc_seconds < 60 THEN
            place := bps * sqrt(60 / ttc_seconds);
        END IF;
        IF cardinality(version.buckets) = 1 THEN
            bucket := version.buckets[1];
        ELSIF score IS NULL THEN
            reason := 'momentum_score is not known';
            RETURN;
        -- rint() of a double rounds half to even, as round(double precision) does.
        ELSIF version.profile = 'source' AND abs(round(score * 100)) > version.buckets[cardinality(version.buckets)] THEN
            reason := 'momentum_score is outside every bucket (source profile)';
            RETURN;
        ELSE
            bucket := greatest(version.buckets[1], least(version.buckets[cardinality(version.buckets)], round(score * 100)))::smallint;
        END IF;
    END IF;

    clamped := (place > version.axis_max OR ttc_seconds > version.ttc_max_seconds) AND NOT (ttc_seconds = 0 AND version.profile = 'sound');
    place := least(place, version.axis_max);
    node := least(floor(place / version.axis_step), version.axis_max / version.axis_step - 1);
    ttc_low := floor(least(greatest(ttc_seconds, 60), version.ttc_max_seconds) / version.ttc_step_seconds) * version.ttc_step_seconds;
    ttc_high := least(ttc_low + version.ttc_step_seconds, version.ttc_max_seconds);
    SELECT
        sum(r.value) FILTER (WHERE r.ttc = ttc_low), min(r.n_eff) FILTER (WHERE r.ttc = ttc_low), min(r.evidence) FILTER (WHERE r.ttc = ttc_low),
        sum(r.value) FILTER (WHERE r.ttc = ttc_high), min(r.n_eff) FILTER (WHERE r.ttc = ttc_high), min(r.evidence) FILTER (WHERE r.ttc = ttc_high)
    INTO low_value, low_n_eff, low_evidence, high_value, high_n_eff, high_evidence
    FROM (
        SELECT l.ttc_seconds AS ttc, l.n_eff,
            cells[node + 1] + (cells[node + 2] - cells[node + 1]) * (place / version.axis_step - node) AS value,
            proof[coarse.node + 1] + (proof[least(coarse.node + 2, cardinality(proof))] - proof[coarse.node + 1])
                * (place / version.evidence_step - coarse.node) AS evidence
        FROM analytics.lookup AS l
        CROSS JOIN LATERAL (SELECT CASE WHEN direction = 'above' THEN l.prob_within_positive_hundredths
            ELSE l.prob_within_negative_hundredths END AS cells,
            CASE WHEN direction = 'above' THEN l.evidence_positive ELSE l.evidence_negative END::double precision[] AS proof) AS side
        CROSS JOIN LATERAL (SELECT least(floor(place / version.evidence_step), cardinality(side.proof) - 1)::integer AS node) AS coarse
        WHERE l.generation = version.generation AND l.bucket = strike_probability.bucket
            AND l.ttc_seconds IN (ttc_low, ttc_high)
    ) AS r;
    IF low_value IS NULL OR high_value IS NULL THEN
        reason := 'no evidence for this bucket';
        RETURN;
    END IF;
    IF ttc_high = ttc_low OR ttc_seconds <= ttc_low THEN
        high_value := low_value;
        high_n_eff := low_n_eff;
        high_evidence := low_evidence;
    ELSE
        share := (least(greatest(ttc_seconds, 60), version.ttc_max_seconds) - ttc_low) / version.ttc_step_seconds;
    END IF;
    n_eff := least(low_n_eff, high_n_eff);
    IF ttc_seconds = 0 AND version.profile = 'sound' THEN
        prob_beyond := CASE WHEN bps = 0 THEN 100 ELSE 0 END;
        prob_within := 100 - prob_beyond;
        RETURN;
    END IF;
    p := 100 - (low_value + (high_value - low_value) * share) / 100;
    IF version.profile = 'sound' THEN
        -- What is not settled is not certain.
        p := least(greatest(p, 0.01), 99.99);
    END IF;
    prob_beyond := round(p::numeric, 2);
    prob_within := 100 - prob_beyond;
    independent_outcomes := least(low_evidence, high_evidence);
    IF independent_outcomes > 0 AND independent_outcomes < 'Infinity' THEN
        p := p / 100;
        centre := (p + z ^ 2 / (2 * independent_outcomes)) / (1 + z ^ 2 / independent_outcomes);
        half := z / (1 + z ^ 2 / independent_outcomes) * sqrt(p * (1 - p) / independent_outcomes + z ^ 2 / (4 * independent_outcomes::double precision ^ 2));
        prob_beyond_low := round((100 * greatest(centre - half, 0))::numeric, 2);
        prob_beyond_high := round((100 * least(centre + half, 1))::numeric, 2);
    ELSE
        independent_outcomes := NULL;
    END IF;
END
$$;
COMMENT ON FUNCTION analytics.strike_probability(text, double precision, double precision, double precision, double precision, text, double precision) IS
    'Percent that the price finishes at or past the strike (prob_beyond) when the market closes in ttc_seconds, with momentum_score in percent; from the published lookup of the champion, or of using_model. Volatility is that after the newest bar, or given_sigma_pct (percent per square root of a minute). No answer comes with a reason.';
REVOKE ALL ON FUNCTION
    analytics.strike_probability(text, double precision, double precision, double precision, double precision, text, double precision),
    analytics.sigma_pct(text, double precision, timestamptz),
    analytics.forecast_sigma(jsonb, double precision[], timestamptz, double precision)
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    analytics.strike_probability(text, double precision, double precision, double precision, double precision, text, double precision),
    analytics.sigma_pct(text, double precision, timestamptz),
    analytics.forecast_sigma(jsonb, double precision[], timestamptz, double precision)
TO strikecast_reader, strikecast_pipeline, strikecast_live;
