-- What belonged to the momentum model alone becomes any model's: its axis, its nodes, its buckets.
ALTER TABLE analytics.model_version RENAME COLUMN move_thresholds_bps TO nodes;
ALTER TABLE analytics.model_version RENAME COLUMN move_step_bps TO axis_step;
ALTER TABLE analytics.model_version RENAME COLUMN move_max_bps TO axis_max;
ALTER TABLE analytics.model_version
    ADD COLUMN axis text NOT NULL DEFAULT 'move_bps' CHECK (axis IN ('move_bps', 'standardised_move')),
    ADD COLUMN evidence_step smallint CHECK (evidence_step > 0),
    ADD COLUMN buckets smallint[],
    ADD COLUMN borrowed_from text;
UPDATE analytics.model_version
SET buckets = ARRAY(SELECT b::smallint FROM generate_series(-bucket_limit::integer, bucket_limit::integer) AS b);
ALTER TABLE analytics.model_version ALTER COLUMN buckets SET NOT NULL, ALTER COLUMN axis DROP DEFAULT, DROP COLUMN bucket_limit;
COMMENT ON COLUMN analytics.model_version.nodes IS 'Place on the axis of each element of the fingerprint''s arrays.';
COMMENT ON COLUMN analytics.model_version.axis IS 'move_bps: basis points of the price. standardised_move: hundredths of asinh(2 z), z the log move over sigma sqrt(t).';
COMMENT ON COLUMN analytics.model_version.axis_step IS 'Distance of nodes in the lookup, in the axis'' unit.';
COMMENT ON COLUMN analytics.model_version.axis_max IS 'Last node of the lookup, in the axis'' unit.';
COMMENT ON COLUMN analytics.model_version.evidence_step IS 'Distance of the nodes of the evidence arrays, in the axis'' unit; NULL where there are none.';
COMMENT ON COLUMN analytics.model_version.buckets IS 'Buckets of the lookup; what they mean belongs to the model.';
COMMENT ON COLUMN analytics.model_version.borrowed_from IS 'Symbol whose distribution this is, as long as the symbol itself has too little history; NULL for its own.';

ALTER TABLE analytics.fingerprint RENAME COLUMN momentum_bucket TO bucket;
ALTER TABLE analytics.fingerprint ADD COLUMN evidence_positive real[], ADD COLUMN evidence_negative real[];
COMMENT ON TABLE analytics.fingerprint IS 'P(the price moves by at least a node within t minutes), by bucket of the generation''s model; for momentum NULL is the baseline.';
COMMENT ON COLUMN analytics.fingerprint.bucket IS 'momentum: -30..30, NULL for the baseline, which takes all bars. standardised: 1..9 by momentum over volatility, 0 for all. Others: 0.';
COMMENT ON COLUMN analytics.fingerprint.positive IS 'Percent of moves at or above each node (model_version.nodes); NULL without evidence.';
COMMENT ON COLUMN analytics.fingerprint.negative IS 'Percent of moves at or below minus each node; NULL without evidence.';
COMMENT ON COLUMN analytics.fingerprint.evidence_positive IS 'Independent outcomes behind a probability upwards, by evidence node: p (1 - p) over its variance in a bootstrap over weeks.';
COMMENT ON COLUMN analytics.fingerprint.evidence_negative IS 'The same downwards.';

ALTER TABLE analytics.lookup RENAME COLUMN momentum_bucket TO bucket;
ALTER TABLE analytics.lookup ADD COLUMN evidence_positive real[], ADD COLUMN evidence_negative real[];
COMMENT ON COLUMN analytics.lookup.bucket IS 'As in analytics.fingerprint, but never NULL.';
COMMENT ON COLUMN analytics.lookup.prob_within_positive_hundredths IS 'P(the price does not reach a strike above it), hundredths of a percent, by axis node from 0 in steps; NULL without evidence.';
COMMENT ON COLUMN analytics.lookup.prob_within_negative_hundredths IS 'P(the price does not reach a strike below it), hundredths of a percent, by axis node from 0 in steps; NULL without evidence.';
COMMENT ON COLUMN analytics.lookup.evidence_positive IS 'Independent outcomes behind a probability upwards, by evidence node; NULL where not known.';
COMMENT ON COLUMN analytics.lookup.evidence_negative IS 'The same downwards.';

CREATE OR REPLACE VIEW analytics.lookup_cell AS
SELECT active.symbol,
    active.model,
    lookup.generation,
    lookup.ttc_seconds,
    ((cell.position - 1) * version.axis_step)::smallint AS move_bps,
    lookup.bucket AS momentum_bucket,
    (cell.positive / 100.0)::numeric(5, 2) AS prob_within_positive,
    (cell.negative / 100.0)::numeric(5, 2) AS prob_within_negative
FROM analytics.active_generation AS active
JOIN analytics.model_version AS version USING (generation)
JOIN analytics.lookup USING (generation)
CROSS JOIN LATERAL unnest(lookup.prob_within_positive_hundredths, lookup.prob_within_negative_hundredths)
    WITH ORDINALITY AS cell (positive, negative, position)
WHERE version.axis = 'move_bps';
COMMENT ON VIEW analytics.lookup_cell IS 'The published lookups by move, one row per cell: 8,840,181 of the momentum model per symbol with the default steps. Filter by symbol, model, TTC and bucket.';
COMMENT ON COLUMN analytics.lookup_cell.momentum_bucket IS 'Momentum bucket -30..30; 0 for climatology, which has no other.';

CREATE VIEW analytics.standardised_lookup_cell AS
SELECT active.symbol,
    active.model,
    lookup.generation,
    lookup.ttc_seconds,
    round((sinh((cell.position - 1) * version.axis_step / 100.0) / 2)::numeric, 4) AS standardised_move,
    lookup.bucket AS momentum_group,
    (cell.positive / 100.0)::numeric(5, 2) AS prob_within_positive,
    (cell.negative / 100.0)::numeric(5, 2) AS prob_within_negative
FROM analytics.active_generation AS active
JOIN analytics.model_version AS version USING (generation)
JOIN analytics.lookup USING (generation)
CROSS JOIN LATERAL unnest(lookup.prob_within_positive_hundredths, lookup.prob_within_negative_hundredths)
    WITH ORDINALITY AS cell (positive, negative, position)
WHERE version.axis = 'standardised_move';
COMMENT ON VIEW analytics.standardised_lookup_cell IS 'The published lookups by standardised move, one row per cell. Filter by symbol, model, TTC and group.';
COMMENT ON COLUMN analytics.standardised_lookup_cell.symbol IS 'Symbol in capitals, such as BTC.';
COMMENT ON COLUMN analytics.standardised_lookup_cell.model IS 'Model.';
COMMENT ON COLUMN analytics.standardised_lookup_cell.generation IS 'Published generation.';
COMMENT ON COLUMN analytics.standardised_lookup_cell.ttc_seconds IS 'Time to close, seconds.';
COMMENT ON COLUMN analytics.standardised_lookup_cell.standardised_move IS '|ln(strike / price)| over sigma sqrt(minutes to close).';
COMMENT ON COLUMN analytics.standardised_lookup_cell.momentum_group IS '1..9 by momentum over volatility, 0 for all together.';
COMMENT ON COLUMN analytics.standardised_lookup_cell.prob_within_positive IS 'Percent: the price does not reach a strike above it.';
COMMENT ON COLUMN analytics.standardised_lookup_cell.prob_within_negative IS 'Percent: the price does not reach a strike below it.';

CREATE OR REPLACE FUNCTION analytics.attach_lookup_table(new_generation integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('ALTER TABLE analytics.%I ADD PRIMARY KEY (generation, bucket, ttc_seconds)',
        'lookup_' || new_generation);
    EXECUTE format('ALTER TABLE analytics.lookup ATTACH PARTITION analytics.%I FOR VALUES IN (%s)',
        'lookup_' || new_generation, new_generation);
    EXECUTE format('ANALYZE analytics.%I', 'lookup_' || new_generation);
END
$$;

CREATE OR REPLACE FUNCTION analytics.create_fingerprint_views(for_symbol text) RETURNS integer
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
        'f.positive[array_position(v.nodes, %1$s::smallint)] AS pos_%2$s, f.negative[array_position(v.nodes, %1$s::smallint)] AS neg_%2$s',
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
            'WHERE a.symbol = %L AND a.model = ''momentum'' AND f.bucket IS NOT DISTINCT FROM %s::smallint '
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

-- Who answers when nobody is named, and who wants to. Append only: the newest row of a symbol counts.
CREATE TABLE analytics.champion_change (
    champion_change_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    symbol text NOT NULL,
    champion text NOT NULL,
    challenger text CHECK (challenger <> champion),
    reason text NOT NULL,
    evidence jsonb NOT NULL DEFAULT '{}',
    dagster_run_id text,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE analytics.champion_change IS 'History of champions and challengers by symbol; rows are only added, the newest counts. See the view champion.';
COMMENT ON COLUMN analytics.champion_change.champion_change_id IS 'Running number.';
COMMENT ON COLUMN analytics.champion_change.symbol IS 'Symbol in capitals, such as BTC.';
COMMENT ON COLUMN analytics.champion_change.champion IS 'Model that answers from then on.';
COMMENT ON COLUMN analytics.champion_change.challenger IS 'Model that is scored against it; NULL for none.';
COMMENT ON COLUMN analytics.champion_change.reason IS 'Why, in plain words.';
COMMENT ON COLUMN analytics.champion_change.evidence IS 'Out-of-sample figures that the change rests on.';
COMMENT ON COLUMN analytics.champion_change.dagster_run_id IS 'The Dagster run that changed it; NULL from the command line.';
COMMENT ON COLUMN analytics.champion_change.changed_at IS 'When, UTC.';

CREATE VIEW analytics.champion AS
SELECT symbol.symbol,
    coalesce(newest.champion, CASE WHEN 'standardised' = ANY (symbol.models) THEN 'standardised' ELSE 'momentum' END) AS champion,
    CASE WHEN newest.champion IS NULL AND 'standardised' = ANY (symbol.models) THEN 'momentum' ELSE newest.challenger END AS challenger,
    newest.changed_at AS since,
    coalesce(newest.reason, 'never changed') AS reason
FROM (SELECT symbol, array_agg(model) AS models FROM analytics.active_generation GROUP BY symbol) AS symbol
LEFT JOIN LATERAL (
    SELECT champion, challenger, changed_at, reason FROM analytics.champion_change AS change
    WHERE change.symbol = symbol.symbol ORDER BY champion_change_id DESC LIMIT 1
) AS newest ON true;
COMMENT ON VIEW analytics.champion IS 'Who answers for each symbol that has a published generation. Where nothing was decided: standardised once it is published, momentum before.';
COMMENT ON COLUMN analytics.champion.symbol IS 'Symbol in capitals, such as BTC.';
COMMENT ON COLUMN analytics.champion.champion IS 'Model that answers.';
COMMENT ON COLUMN analytics.champion.challenger IS 'Model that is scored against it; NULL for none.';
COMMENT ON COLUMN analytics.champion.since IS 'When that was decided, UTC; NULL when it never was.';
COMMENT ON COLUMN analytics.champion.reason IS 'Why.';

CREATE TRIGGER champion_change_notify AFTER INSERT ON analytics.champion_change
    FOR EACH ROW EXECUTE FUNCTION analytics.notify_generation();

GRANT SELECT, INSERT ON analytics.champion_change TO strikecast_pipeline;
GRANT SELECT ON analytics.champion, analytics.champion_change TO strikecast_pipeline, strikecast_live, strikecast_reader;
GRANT SELECT ON analytics.standardised_lookup_cell TO strikecast_pipeline, strikecast_reader;
