CREATE TABLE analytics.model_version (
    generation integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    symbol text NOT NULL,
    model text NOT NULL,
    profile text NOT NULL CHECK (profile IN ('sound', 'source')),
    origin text NOT NULL CHECK (origin IN ('built', 'imported')),
    state text NOT NULL DEFAULT 'building' CHECK (state IN ('building', 'complete', 'rejected')),
    config jsonb NOT NULL,
    move_thresholds_bps smallint[] NOT NULL,
    ttc_step_seconds smallint NOT NULL,
    ttc_max_seconds smallint NOT NULL,
    move_step_bps smallint NOT NULL,
    move_max_bps smallint NOT NULL,
    bucket_limit smallint NOT NULL,
    code_version text NOT NULL,
    first_bar_at timestamptz,
    last_bar_at timestamptz,
    bar_count bigint,
    fingerprint_rows integer,
    lookup_rows integer,
    lookup_sha256 text,
    dagster_run_id text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    completed_at timestamptz,
    published_at timestamptz
);
COMMENT ON TABLE analytics.model_version IS 'One row per generation: what it was built from, how, and what came out. A generation''s numbers never change.';
COMMENT ON COLUMN analytics.model_version.generation IS 'Running number; the id in every output.';
COMMENT ON COLUMN analytics.model_version.symbol IS 'Symbol in capitals, such as BTC.';
COMMENT ON COLUMN analytics.model_version.model IS 'Model; its axis and the meaning of its buckets belong to it.';
COMMENT ON COLUMN analytics.model_version.profile IS 'sound: right. source: the original''s numbers, for parity.';
COMMENT ON COLUMN analytics.model_version.origin IS 'built from bars, or imported from exported files.';
COMMENT ON COLUMN analytics.model_version.state IS 'building, complete (checked, may be published) or rejected by a check.';
COMMENT ON COLUMN analytics.model_version.config IS 'The whole configuration of the build.';
COMMENT ON COLUMN analytics.model_version.move_thresholds_bps IS 'Move of each element of the fingerprint''s arrays, basis points.';
COMMENT ON COLUMN analytics.model_version.ttc_step_seconds IS 'Distance of TTC nodes in the lookup, seconds.';
COMMENT ON COLUMN analytics.model_version.ttc_max_seconds IS 'Last TTC node of the lookup, seconds.';
COMMENT ON COLUMN analytics.model_version.move_step_bps IS 'Distance of move nodes in the lookup, basis points.';
COMMENT ON COLUMN analytics.model_version.move_max_bps IS 'Last move node of the lookup, basis points.';
COMMENT ON COLUMN analytics.model_version.bucket_limit IS 'Momentum buckets run from minus this to this.';
COMMENT ON COLUMN analytics.model_version.code_version IS 'Version of the code that built it.';
COMMENT ON COLUMN analytics.model_version.first_bar_at IS 'First bar used, UTC.';
COMMENT ON COLUMN analytics.model_version.last_bar_at IS 'Last bar used, UTC.';
COMMENT ON COLUMN analytics.model_version.bar_count IS 'Number of bars used.';
COMMENT ON COLUMN analytics.model_version.fingerprint_rows IS 'Rows in analytics.fingerprint.';
COMMENT ON COLUMN analytics.model_version.lookup_rows IS 'Rows in analytics.lookup.';
COMMENT ON COLUMN analytics.model_version.lookup_sha256 IS 'SHA-256 over the lookup''s arrays, by bucket and TTC.';
COMMENT ON COLUMN analytics.model_version.dagster_run_id IS 'The Dagster run that built it.';
COMMENT ON COLUMN analytics.model_version.created_at IS 'Start of the build, UTC.';
COMMENT ON COLUMN analytics.model_version.completed_at IS 'When all checks had passed, UTC.';
COMMENT ON COLUMN analytics.model_version.published_at IS 'When it was first published, UTC.';

CREATE TABLE analytics.active_generation (
    symbol text NOT NULL,
    model text NOT NULL,
    generation integer NOT NULL REFERENCES analytics.model_version,
    published_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (symbol, model)
);
COMMENT ON TABLE analytics.active_generation IS 'The generation that readers see, one row per symbol and model. Publishing and going back are one-row updates.';
COMMENT ON COLUMN analytics.active_generation.symbol IS 'Symbol in capitals, such as BTC.';
COMMENT ON COLUMN analytics.active_generation.model IS 'Model.';
COMMENT ON COLUMN analytics.active_generation.generation IS 'The generation to read.';
COMMENT ON COLUMN analytics.active_generation.published_at IS 'When this pointer last changed, UTC.';

CREATE TABLE analytics.fingerprint (
    generation integer NOT NULL REFERENCES analytics.model_version ON DELETE CASCADE,
    momentum_bucket smallint,
    ttc_minutes smallint NOT NULL CHECK (ttc_minutes BETWEEN 1 AND 60),
    positive double precision[],
    negative double precision[],
    n bigint,
    n_eff double precision,
    UNIQUE NULLS NOT DISTINCT (generation, momentum_bucket, ttc_minutes),
    CONSTRAINT fingerprint_percent CHECK (
        0 <= ALL (positive) AND 100 >= ALL (positive) AND 0 <= ALL (negative) AND 100 >= ALL (negative)
    )
);
COMMENT ON TABLE analytics.fingerprint IS 'P(the price moves by at least a threshold within t minutes), by momentum bucket; NULL bucket is the baseline.';
COMMENT ON COLUMN analytics.fingerprint.generation IS 'Generation the row belongs to.';
COMMENT ON COLUMN analytics.fingerprint.momentum_bucket IS 'Momentum bucket -30..30; NULL for the baseline, which takes all bars.';
COMMENT ON COLUMN analytics.fingerprint.ttc_minutes IS 'Horizon, minutes.';
COMMENT ON COLUMN analytics.fingerprint.positive IS 'Percent of moves at or above each threshold (model_version.move_thresholds_bps); NULL without evidence.';
COMMENT ON COLUMN analytics.fingerprint.negative IS 'Percent of moves at or below minus each threshold; NULL without evidence.';
COMMENT ON COLUMN analytics.fingerprint.n IS 'Bars counted; NULL for imported tables. Neighbouring bars overlap, so this overstates the evidence.';
COMMENT ON COLUMN analytics.fingerprint.n_eff IS 'Effective bars after weighting, (sum w)^2 / sum w^2; NULL for imported tables.';

CREATE TABLE analytics.lookup (
    generation integer NOT NULL,
    ttc_seconds smallint NOT NULL,
    momentum_bucket smallint NOT NULL,
    n_eff real NOT NULL,
    prob_within_positive_hundredths smallint[],
    prob_within_negative_hundredths smallint[],
    PRIMARY KEY (generation, momentum_bucket, ttc_seconds)
) PARTITION BY LIST (generation);
COMMENT ON TABLE analytics.lookup IS 'Every fingerprint read at every (TTC, move) node, one row per (TTC, bucket); one partition per generation. See lookup_cell for rows.';
COMMENT ON COLUMN analytics.lookup.generation IS 'Generation the row belongs to.';
COMMENT ON COLUMN analytics.lookup.ttc_seconds IS 'Time to close, seconds.';
COMMENT ON COLUMN analytics.lookup.momentum_bucket IS 'Momentum bucket -30..30.';
COMMENT ON COLUMN analytics.lookup.n_eff IS 'Effective bars behind the row; -1 when not known (imported).';
COMMENT ON COLUMN analytics.lookup.prob_within_positive_hundredths IS 'P(the price does not reach a strike above it), hundredths of a percent, by move from 0 in steps; NULL without evidence.';
COMMENT ON COLUMN analytics.lookup.prob_within_negative_hundredths IS 'P(the price does not reach a strike below it), hundredths of a percent, by move from 0 in steps; NULL without evidence.';

CREATE VIEW analytics.lookup_cell AS
SELECT active.symbol,
    active.model,
    lookup.generation,
    lookup.ttc_seconds,
    ((cell.position - 1) * version.move_step_bps)::smallint AS move_bps,
    lookup.momentum_bucket,
    (cell.positive / 100.0)::numeric(5, 2) AS prob_within_positive,
    (cell.negative / 100.0)::numeric(5, 2) AS prob_within_negative
FROM analytics.active_generation AS active
JOIN analytics.model_version AS version USING (generation)
JOIN analytics.lookup USING (generation)
CROSS JOIN LATERAL unnest(lookup.prob_within_positive_hundredths, lookup.prob_within_negative_hundredths)
    WITH ORDINALITY AS cell (positive, negative, position);
COMMENT ON VIEW analytics.lookup_cell IS 'The published lookup, one row per cell: 8,840,181 per symbol with the default steps. Filter by symbol, TTC and bucket.';
COMMENT ON COLUMN analytics.lookup_cell.symbol IS 'Symbol in capitals, such as BTC.';
COMMENT ON COLUMN analytics.lookup_cell.model IS 'Model.';
COMMENT ON COLUMN analytics.lookup_cell.generation IS 'Published generation.';
COMMENT ON COLUMN analytics.lookup_cell.ttc_seconds IS 'Time to close, seconds.';
COMMENT ON COLUMN analytics.lookup_cell.move_bps IS 'Distance of the strike from the price, basis points of the price.';
COMMENT ON COLUMN analytics.lookup_cell.momentum_bucket IS 'Momentum bucket -30..30.';
COMMENT ON COLUMN analytics.lookup_cell.prob_within_positive IS 'Percent: the price does not reach a strike above it.';
COMMENT ON COLUMN analytics.lookup_cell.prob_within_negative IS 'Percent: the price does not reach a strike below it.';

-- A lookup partition is made, loaded and indexed as a table of its own, then attached: no reader waits for any of it.
CREATE FUNCTION analytics.create_lookup_table(new_generation integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('CREATE TABLE analytics.%I (LIKE analytics.lookup, CHECK (generation = %s))',
        'lookup_' || new_generation, new_generation);
    EXECUTE format('COMMENT ON TABLE analytics.%I IS %L',
        'lookup_' || new_generation, 'Lookup rows of generation ' || new_generation || '.');
    EXECUTE format('GRANT SELECT, INSERT ON analytics.%I TO strikecast_pipeline', 'lookup_' || new_generation);
    EXECUTE format('GRANT SELECT ON analytics.%I TO strikecast_live, strikecast_reader', 'lookup_' || new_generation);
END
$$;
COMMENT ON FUNCTION analytics.create_lookup_table(integer) IS 'Create the empty, unattached lookup table of a generation.';

CREATE FUNCTION analytics.attach_lookup_table(new_generation integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('ALTER TABLE analytics.%I ADD PRIMARY KEY (generation, momentum_bucket, ttc_seconds)',
        'lookup_' || new_generation);
    EXECUTE format('ALTER TABLE analytics.lookup ATTACH PARTITION analytics.%I FOR VALUES IN (%s)',
        'lookup_' || new_generation, new_generation);
    EXECUTE format('ANALYZE analytics.%I', 'lookup_' || new_generation);
END
$$;
COMMENT ON FUNCTION analytics.attach_lookup_table(integer) IS 'Index a loaded lookup table, attach it to analytics.lookup, analyze it.';

-- The 62 tables of the original, as views of the published generation.
CREATE FUNCTION analytics.create_fingerprint_views(for_symbol text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    bucket integer;
    view_name text;
    columns text;
    label text;
BEGIN
    IF for_symbol !~ '^[A-Z][A-Z0-9]{0,15}$' THEN
        RAISE EXCEPTION 'symbol % must be capital letters and digits, 16 at most', for_symbol USING ERRCODE = '22023';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('strikecast.fingerprint_views'), hashtext(for_symbol));
    IF to_regclass(format('analytics.%I', lower(for_symbol) || '_fingerprint_directional_baseline')) IS NOT NULL THEN
        RETURN 0;
    END IF;
    SELECT string_agg(format(
        'f.positive[array_position(v.move_thresholds_bps, %1$s::smallint)] AS pos_%2$s, f.negative[array_position(v.move_thresholds_bps, %1$s::smallint)] AS neg_%2$s',
        bps, replace(to_char(bps / 100.0, 'FM0.00'), '.', '_')), ', ' ORDER BY bps)
    INTO columns FROM generate_series(0, 200, 5) AS bps;
    FOR bucket IN SELECT b FROM generate_series(-31, 30) AS b LOOP
        -- -31 stands for the baseline here.
        IF bucket = -31 THEN
            label := 'all bars';
            view_name := lower(for_symbol) || '_fingerprint_directional_baseline';
        ELSE
            label := 'momentum bucket ' || bucket;
            view_name := lower(for_symbol) || '_fingerprint_directional_momentum_'
                || CASE WHEN bucket < 0 THEN '-' || lpad(abs(bucket)::text, 2, '0') ELSE lpad(bucket::text, 3, '0') END;
        END IF;
        EXECUTE format(
            'CREATE VIEW analytics.%I AS SELECT lpad(f.ttc_minutes::text, 2, ''0'') || ''m TTC'' AS time_to_close, %s '
            'FROM analytics.active_generation AS a JOIN analytics.model_version AS v USING (generation) '
            'JOIN analytics.fingerprint AS f USING (generation) '
            'WHERE a.symbol = %L AND a.model = ''momentum'' AND f.momentum_bucket IS NOT DISTINCT FROM %s::smallint '
            'ORDER BY f.ttc_minutes',
            view_name, columns, for_symbol, CASE WHEN bucket = -31 THEN 'NULL' ELSE bucket::text END);
        EXECUTE format('COMMENT ON VIEW analytics.%I IS %L', view_name,
            for_symbol || ' fingerprint of ' || label || ', published generation: percent of moves at or past each threshold within the time to close.');
        EXECUTE format('COMMENT ON COLUMN analytics.%I.time_to_close IS %L', view_name, 'Horizon: 01m TTC to 60m TTC.');
        FOR label IN SELECT replace(to_char(bps / 100.0, 'FM0.00'), '.', '_') FROM generate_series(0, 200, 5) AS bps LOOP
            EXECUTE format('COMMENT ON COLUMN analytics.%I.%I IS %L', view_name, 'pos_' || label,
                'Percent of moves >= +' || replace(label, '_', '.') || ' %.');
            EXECUTE format('COMMENT ON COLUMN analytics.%I.%I IS %L', view_name, 'neg_' || label,
                'Percent of moves <= -' || replace(label, '_', '.') || ' %.');
        END LOOP;
        EXECUTE format('GRANT SELECT ON analytics.%I TO strikecast_reader, strikecast_pipeline', view_name);
    END LOOP;
    RETURN 62;
END
$$;
COMMENT ON FUNCTION analytics.create_fingerprint_views(text) IS 'Create a symbol''s 62 fingerprint views, unless they exist; returns how many.';
REVOKE ALL ON FUNCTION analytics.create_lookup_table(integer), analytics.attach_lookup_table(integer),
    analytics.create_fingerprint_views(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION analytics.create_lookup_table(integer), analytics.attach_lookup_table(integer),
    analytics.create_fingerprint_views(text) TO strikecast_pipeline;

-- Reads exactly as pipelines/domain/lookup.py does; a test compares the two.
CREATE FUNCTION analytics.strike_probability(
    in_symbol text, price double precision, strike double precision, ttc_seconds double precision, momentum_score double precision,
    OUT prob_beyond numeric, OUT prob_within numeric, OUT direction text, OUT move_bps numeric, OUT momentum_bucket smallint,
    OUT clamped boolean, OUT n_eff real, OUT model_version integer, OUT reason text
) LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    version analytics.model_version;
    ttc_low smallint;
    ttc_high smallint;
    move_read double precision;
    node integer;
    low_value double precision;
    high_value double precision;
    low_n_eff real;
    high_n_eff real;
    bps double precision;
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
    IF momentum_score IS NULL OR momentum_score IN ('NaN', 'Infinity', '-Infinity') THEN
        reason := 'momentum_score is not known';
        RETURN;
    END IF;
    SELECT v.* INTO version
    FROM analytics.active_generation AS a JOIN analytics.model_version AS v USING (generation)
    WHERE a.symbol = in_symbol AND a.model = 'momentum';
    IF NOT FOUND THEN
        reason := 'no generation is published for ' || coalesce(in_symbol, 'NULL');
        RETURN;
    END IF;
    model_version := version.generation;
    -- rint() of a double rounds half to even, as round(double precision) does.
    IF version.profile = 'source' AND abs(round(momentum_score * 100)) > version.bucket_limit THEN
        reason := 'momentum_score is outside every bucket (source profile)';
        RETURN;
    END IF;
    momentum_bucket := greatest(-version.bucket_limit, least(version.bucket_limit, round(momentum_score * 100)))::smallint;
    move_read := bps;
    IF version.profile = 'sound' THEN
        IF ttc_seconds = 0 THEN
            prob_beyond := CASE WHEN bps = 0 THEN 100 ELSE 0 END;
            prob_within := 100 - prob_beyond;
        ELSIF ttc_seconds < 60 THEN
            move_read := bps * sqrt(60 / ttc_seconds);
        END IF;
    END IF;
    clamped := (move_read > version.move_max_bps OR ttc_seconds > version.ttc_max_seconds) AND prob_beyond IS NULL;
    move_read := least(move_read, version.move_max_bps);
    node := least(floor(move_read / version.move_step_bps), version.move_max_bps / version.move_step_bps - 1);
    ttc_low := floor(least(greatest(ttc_seconds, 60), version.ttc_max_seconds) / version.ttc_step_seconds) * version.ttc_step_seconds;
    ttc_high := least(ttc_low + version.ttc_step_seconds, version.ttc_max_seconds);
    SELECT
        sum(r.value) FILTER (WHERE r.ttc = ttc_low), min(r.n_eff) FILTER (WHERE r.ttc = ttc_low),
        sum(r.value) FILTER (WHERE r.ttc = ttc_high), min(r.n_eff) FILTER (WHERE r.ttc = ttc_high)
    INTO low_value, low_n_eff, high_value, high_n_eff
    FROM (
        SELECT l.ttc_seconds AS ttc, l.n_eff,
            cells[node + 1] + (cells[node + 2] - cells[node + 1]) * (move_read / version.move_step_bps - node) AS value
        FROM analytics.lookup AS l
        CROSS JOIN LATERAL (SELECT CASE WHEN direction = 'above' THEN l.prob_within_positive_hundredths
            ELSE l.prob_within_negative_hundredths END AS cells) AS side
        WHERE l.generation = version.generation AND l.momentum_bucket = strike_probability.momentum_bucket
            AND l.ttc_seconds IN (ttc_low, ttc_high)
    ) AS r;
    IF low_value IS NULL OR high_value IS NULL THEN
        prob_beyond := NULL;
        prob_within := NULL;
        reason := 'no evidence for this bucket';
        RETURN;
    END IF;
    IF ttc_high = ttc_low OR ttc_seconds <= ttc_low THEN
        high_value := low_value;
        high_n_eff := low_n_eff;
    END IF;
    n_eff := least(low_n_eff, high_n_eff);
    IF prob_beyond IS NULL THEN
        low_value := low_value + (high_value - low_value)
            * (least(greatest(ttc_seconds, 60), version.ttc_max_seconds) - ttc_low) / version.ttc_step_seconds;
        prob_within := round((low_value / 100)::numeric, 2);
        prob_beyond := 100 - prob_within;
    END IF;
END
$$;
COMMENT ON FUNCTION analytics.strike_probability(text, double precision, double precision, double precision, double precision) IS
    'Percent that the price finishes at or past the strike (prob_beyond) when the market closes in ttc_seconds, with momentum_score in percent; from the published lookup. No answer comes with a reason.';
REVOKE ALL ON FUNCTION analytics.strike_probability(text, double precision, double precision, double precision, double precision) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION analytics.strike_probability(text, double precision, double precision, double precision, double precision)
    TO strikecast_reader, strikecast_pipeline, strikecast_live;

CREATE FUNCTION analytics.notify_generation() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('strikecast_generation', NEW.symbol);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION analytics.notify_generation() IS 'Tell listeners that a symbol''s published generation changed.';
CREATE TRIGGER active_generation_notify AFTER INSERT OR UPDATE ON analytics.active_generation
    FOR EACH ROW EXECUTE FUNCTION analytics.notify_generation();

GRANT SELECT, INSERT, UPDATE, DELETE ON analytics.model_version, analytics.active_generation, analytics.fingerprint TO strikecast_pipeline;
GRANT SELECT ON analytics.lookup, analytics.lookup_cell TO strikecast_pipeline;
GRANT SELECT ON analytics.model_version, analytics.active_generation, analytics.fingerprint, analytics.lookup TO strikecast_live;
GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO strikecast_reader;
