-- With the settlement of the market: the mean of its last 60 one-second values asks for less variance than the last price,
-- and knows a part of it in the last minute (pipelines/domain/markets/settlement.py).
-- It gets more parameters, which a function cannot get in place; calls without them are not affected.
-- squawk-ignore ban-drop-function
DROP FUNCTION analytics.strike_probability(text, double precision, double precision, double precision, double precision, text, double precision, timestamptz);
-- Reads as pipelines/domain/models/probability.py does, with the limits of storage/models/ladders.py; tests compare them.
CREATE FUNCTION analytics.strike_probability(
    in_symbol text, price double precision, strike double precision, ttc_seconds double precision,
    momentum_score double precision DEFAULT NULL, using_model text DEFAULT NULL, given_sigma_pct double precision DEFAULT NULL,
    at timestamptz DEFAULT now(), settlement text DEFAULT 'last_price', known_mean double precision DEFAULT NULL,
    basis_bps double precision DEFAULT 0,
    OUT prob_beyond numeric, OUT prob_within numeric, OUT prob_beyond_low numeric, OUT prob_beyond_high numeric,
    OUT direction text, OUT move_bps numeric, OUT model text, OUT bucket smallint, OUT sigma_pct double precision,
    OUT clamped boolean, OUT n_eff real, OUT independent_outcomes real, OUT model_version integer, OUT reason text, OUT state_at timestamptz, OUT state_age_seconds double precision,
    OUT built_to timestamptz
) LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    version analytics.model_version;
    score CONSTANT double precision := CASE WHEN momentum_score NOT IN ('NaN', 'Infinity', '-Infinity') THEN momentum_score END;
    max_state_age CONSTANT interval := '24 hours';
    -- The question to the model: does the price reach `reach` in `ahead` seconds? `open_values` of the mean are not known.
    reach double precision;
    ahead double precision := ttc_seconds;
    open_values double precision;
    upward boolean;
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
    IF settlement IS NULL OR settlement NOT IN ('last_price', 'mean_60s') THEN
        reason := format('settlement must be last_price or mean_60s, not %s', coalesce(settlement, 'NULL'));
        RETURN;
    END IF;
    IF basis_bps IS NULL OR basis_bps IN ('NaN', 'Infinity', '-Infinity') OR known_mean <= 0 OR known_mean >= 'Infinity' THEN
        reason := 'known_mean must be positive, basis_bps a number';
        RETURN;
    END IF;
    direction := CASE WHEN strike > price THEN 'above' ELSE 'below' END;
    reach := strike * exp(-basis_bps / 10000);
    IF settlement = 'mean_60s' THEN
        open_values := least(60, ceil(ttc_seconds));
        IF open_values = 0 THEN
            reach := CASE WHEN coalesce(known_mean, price) >= reach THEN 0 ELSE 'Infinity'::double precision END;
        ELSE
            ahead := ttc_seconds - (open_values - 1) + (open_values - 1) * (2 * open_values - 1) / (6 * open_values);
            reach := (60 * reach - (60 - open_values) * coalesce(known_mean, price)) / open_values;
        END IF;
    END IF;
    upward := reach > price;
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
    built_to := version.last_bar_at;
    IF ttc_seconds > version.ttc_max_seconds THEN
        reason := 'ttc_seconds ' || ttc_seconds || ' is beyond the horizon of the model, ' || version.ttc_max_seconds || ' s';
        RETURN;
    END IF;

    -- The bucket, and the strike's place on the axis.
    IF version.axis = 'standardised_move' THEN
        IF given_sigma_pct IS NULL THEN
            SELECT forecast.sigma_pct, forecast.state_at INTO sigma_pct, state_at
            FROM analytics.sigma_pct(in_symbol, ahead, at) AS forecast;
            state_age_seconds := extract(epoch FROM at - state_at);
            IF at - state_at > max_state_age THEN
                reason := format('volatility is that of %s UTC, more than 24 hours before the answer: ingest newer bars and build, or give given_sigma_pct',
                    to_char(state_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'));
                sigma_pct := NULL;
                RETURN;
            END IF;
        ELSE
            sigma_pct := given_sigma_pct;
        END IF;
        IF sigma_pct IS NULL OR NOT (sigma_pct > 0 AND sigma_pct < 'Infinity') THEN
            reason := 'volatility is not known: give given_sigma_pct';
            RETURN;
        END IF;
        bucket := 0;
        IF cardinality(version.buckets) > 1 AND score IS NOT NULL THEN
            group_sigma := coalesce(given_sigma_pct, (analytics.sigma_pct(in_symbol, 1800, at)).sigma_pct);
            SELECT 1 + count(*) INTO bucket FROM jsonb_array_elements_text(version.config -> 'momentum_edges') AS edge (value)
            WHERE edge.value::double precision < score / group_sigma;
        END IF;
        IF reach = price THEN
            place := 0;
        ELSIF reach > 0 AND reach < 'Infinity' AND ahead > 0 THEN
            place := 100 * asinh(2 * abs(ln(reach / price)) / (sigma_pct / 100 * sqrt(ahead / 60)));
        ELSE
            place := 'Infinity';
        END IF;
    ELSE
        place := abs(reach - price) / price * 10000;
        IF version.profile = 'sound' AND ahead > 0 AND ahead < 60 THEN
            place := place * sqrt(60 / ahead);
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

    clamped := place > version.axis_max AND NOT (ttc_seconds = 0 AND version.profile = 'sound') AND reach > 0 AND reach < 'Infinity';
    place := least(place, version.axis_max);
    node := least(floor(place / version.axis_step), version.axis_max / version.axis_step - 1);
    ttc_low := floor(greatest(ahead, 60) / version.ttc_step_seconds) * version.ttc_step_seconds;
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
        CROSS JOIN LATERAL (SELECT CASE WHEN upward THEN l.prob_within_positive_hundredths
            ELSE l.prob_within_negative_hundredths END AS cells,
            CASE WHEN upward THEN l.evidence_positive ELSE l.evidence_negative END::double precision[] AS proof) AS side
        CROSS JOIN LATERAL (SELECT least(floor(place / version.evidence_step), cardinality(side.proof) - 1)::integer AS node) AS coarse
        WHERE l.generation = version.generation AND l.bucket = strike_probability.bucket
            AND l.ttc_seconds IN (ttc_low, ttc_high)
    ) AS r;
    IF low_value IS NULL OR high_value IS NULL THEN
        reason := 'no evidence for this bucket';
        RETURN;
    END IF;
    IF ttc_high = ttc_low OR ahead <= ttc_low THEN
        high_value := low_value;
        high_n_eff := low_n_eff;
        high_evidence := low_evidence;
    ELSE
        share := (greatest(ahead, 60) - ttc_low) / version.ttc_step_seconds;
    END IF;
    n_eff := least(low_n_eff, high_n_eff);
    IF reach <= 0 OR reach = 'Infinity' THEN
        prob_beyond := CASE WHEN (reach <= 0) = (direction = 'above') THEN 100 ELSE 0 END;
        prob_within := 100 - prob_beyond;
        RETURN;
    END IF;
    IF ttc_seconds = 0 AND version.profile = 'sound' THEN
        prob_beyond := CASE WHEN (reach = price) = (upward = (direction = 'above')) THEN 100 ELSE 0 END;
        prob_within := 100 - prob_beyond;
        RETURN;
    END IF;
    p := 100 - (low_value + (high_value - low_value) * share) / 100;
    IF version.profile = 'sound' THEN
        -- What is not settled is not certain.
        p := least(greatest(p, 0.01), 99.99);
    END IF;
    IF upward <> (direction = 'above') THEN
        p := 100 - p;
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
COMMENT ON FUNCTION analytics.strike_probability(text, double precision, double precision, double precision, double precision, text, double precision, timestamptz, text, double precision, double precision) IS
    'Percent that the market''s value finishes at or past the strike (prob_beyond) when the market closes in ttc_seconds, with momentum_score in percent; from the published lookup of the champion, or of using_model. Volatility is that after the newest bar that had closed at the time `at` (by default now; NULL: the newest of all), or given_sigma_pct (percent per square root of a minute). state_at is the close of that bar, NULL if the answer needs no volatility, built_to the newest bar that the lookup was built from. settlement: last_price, or mean_60s for a market that settles on the mean of the last 60 one-second values; known_mean: the mean of those that are known, USD (NULL: the price); basis_bps: the log of the market''s index over the price, basis points. clamped: the strike is beyond the last node, and has its probability. Without an answer, reason says why: also for a ttc_seconds beyond the model''s horizon, and for a volatility that is more than 24 hours old.';
REVOKE ALL ON FUNCTION analytics.strike_probability(text, double precision, double precision, double precision, double precision, text, double precision, timestamptz, text, double precision, double precision) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION analytics.strike_probability(text, double precision, double precision, double precision, double precision, text, double precision, timestamptz, text, double precision, double precision) TO strikecast_reader, strikecast_pipeline, strikecast_live;
