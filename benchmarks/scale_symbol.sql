-- A copy of a symbol at another price level: its bars, momentum, volatility, counts, published generations and views, under another name.
-- Attaching a partition excludes other copies until the end of its transaction, so it is done first and last.
SELECT historical_data.create_symbol_partitions(%(new)s);
SELECT analytics.create_fingerprint_views(%(new)s);
COMMIT;
BEGIN;
INSERT INTO historical_data.price_history (symbol, opened_at, open, high, low, close, volume)
SELECT %(new)s, opened_at, round(open * %(factor)s * 1000000) / 1000000, round(high * %(factor)s * 1000000) / 1000000,
    round(low * %(factor)s * 1000000) / 1000000, round(close * %(factor)s * 1000000) / 1000000, volume
FROM historical_data.price_history WHERE symbol = %(old)s;
SELECT historical_data.analyze_symbol(%(new)s);
CREATE TEMP TABLE copied ON COMMIT DROP AS
    SELECT nspname AS schema, relname AS name, NULL::text AS columns
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE (nspname, relname) IN (('historical_data', 'momentum'), ('historical_data', 'volatility_day'), ('ops', 'progress'),
        ('analytics', 'standardised_count'), ('analytics', 'champion_change'), ('historical_data', 'price_gap'), ('ops', 'ingestion'));
UPDATE copied SET columns = (
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
    WHERE attrelid = format('%%I.%%I', schema, name)::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'symbol'
        AND attidentity = '' AND attgenerated = ''
);
DO $$
DECLARE
    old text := %(old)s;
    new text := %(new)s;
    one record;
    source record;
    copy integer;
    parameters integer;
    version_columns text;
BEGIN
    FOR one IN SELECT * FROM copied LOOP
        EXECUTE format('INSERT INTO %%I.%%I (symbol, %%s) SELECT %%L, %%s FROM %%I.%%I WHERE symbol = %%L',
            one.schema, one.name, one.columns, new, one.columns, one.schema, one.name, old);
    END LOOP;
    INSERT INTO analytics.standardised_parameters (symbol, borrowed_from, parameters, fitted_until, code_version)
    SELECT new, borrowed_from, parameters.parameters, fitted_until, code_version FROM analytics.standardised_parameters AS parameters
    WHERE symbol = old ORDER BY parameters_id DESC LIMIT 1 RETURNING parameters_id INTO parameters;
    UPDATE historical_data.volatility_day SET parameters_id = parameters WHERE symbol = new;
    UPDATE analytics.standardised_count SET parameters_id = parameters WHERE symbol = new;
    UPDATE ops.progress SET parameters_id = CASE WHEN parameters_id IS NOT NULL THEN parameters END,
        ingestion_id = (SELECT max(ingestion_id) FROM ops.ingestion WHERE symbol = new) WHERE symbol = new;
    SELECT string_agg(quote_ident(attname), ', ') INTO version_columns FROM pg_attribute
    WHERE attrelid = 'analytics.model_version'::regclass AND attnum > 0 AND NOT attisdropped
        AND attname NOT IN ('generation', 'symbol');
    FOR source IN SELECT model, generation FROM analytics.active_generation WHERE symbol = old ORDER BY generation LOOP
        EXECUTE format('INSERT INTO analytics.model_version (symbol, %%s) SELECT %%L, %%s FROM analytics.model_version '
            'WHERE generation = %%s RETURNING generation', version_columns, new, version_columns, source.generation) INTO copy;
        INSERT INTO analytics.fingerprint (generation, bucket, ttc_minutes, positive, negative, n, n_eff, evidence_positive, evidence_negative)
        SELECT copy, bucket, ttc_minutes, positive, negative, n, n_eff, evidence_positive, evidence_negative
        FROM analytics.fingerprint WHERE generation = source.generation;
        PERFORM analytics.create_lookup_table(copy);
        EXECUTE format('INSERT INTO analytics.%%I (generation, ttc_seconds, bucket, n_eff, prob_within_positive_hundredths, '
            'prob_within_negative_hundredths, evidence_positive, evidence_negative) SELECT %%s, ttc_seconds, bucket, n_eff, '
            'prob_within_positive_hundredths, prob_within_negative_hundredths, evidence_positive, evidence_negative '
            'FROM analytics.lookup WHERE generation = %%s AND bucket IN (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)', 'lookup_' || copy, copy, source.generation);
        PERFORM analytics.attach_lookup_table(copy);
        INSERT INTO analytics.active_generation (symbol, model, generation) VALUES (new, source.model, copy);
    END LOOP;
END
$$;
