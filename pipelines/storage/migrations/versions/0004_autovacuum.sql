CREATE TABLE ops.autovacuum_setting (
    table_pattern text PRIMARY KEY,
    vacuum_scale_factor numeric NOT NULL,
    analyze_scale_factor numeric NOT NULL,
    cost_delay_ms numeric NOT NULL,
    why text NOT NULL
);
COMMENT ON TABLE ops.autovacuum_setting IS 'How eagerly autovacuum looks after each table; applied by apply_autovacuum_settings(), compared by autovacuum_drift.';
COMMENT ON COLUMN ops.autovacuum_setting.table_pattern IS 'Regular expression of schema.table; a table follows the first pattern, in the order of patterns, that fits.';
COMMENT ON COLUMN ops.autovacuum_setting.vacuum_scale_factor IS 'Share of dead rows at which it is vacuumed.';
COMMENT ON COLUMN ops.autovacuum_setting.analyze_scale_factor IS 'Share of changed rows at which it is analyzed.';
COMMENT ON COLUMN ops.autovacuum_setting.cost_delay_ms IS 'Pause of the worker when its cost limit is used up, milliseconds.';
COMMENT ON COLUMN ops.autovacuum_setting.why IS 'Why so.';

INSERT INTO ops.autovacuum_setting VALUES
    ('^live_data\.(price_log|answer)_[0-9]{8}$', 0.05, 0.02, 10, 'written each second, and each tick is updated once'),
    ('^live_data\.(session_snapshots|position_snapshots|metrics_snapshots|risk_guard_snapshots)$', 0.05, 0.02, 10, 'grow each minute, and lose their old rows each night'),
    ('^live_data\.session$', 0.05, 0.02, 10, 'one row is updated each second'),
    ('^historical_data\.(price_history|momentum)_[a-z0-9]+$', 0.1, 0.05, 10, 'large; change with each ingestion'),
    ('^historical_data\.(quarantined_bar|price_gap|volatility_day)$', 0.1, 0.05, 10, 'change with each ingestion'),
    ('^analytics\.(fingerprint|model_version|standardised_count|score)$', 0.1, 0.05, 10, 'change with each build'),
    ('^ops\.(ingestion|maintenance|progress)$', 0.1, 0.05, 10, 'change with each job');

CREATE VIEW ops.autovacuum_drift AS
SELECT named.table_name, coalesce(found.reloptions, '{}') AS options, declared.options AS declared
FROM pg_class AS found
JOIN pg_namespace ON pg_namespace.oid = found.relnamespace
CROSS JOIN LATERAL (SELECT pg_namespace.nspname || '.' || found.relname) AS named (table_name)
CROSS JOIN LATERAL (
    SELECT ARRAY[
        'autovacuum_vacuum_scale_factor=' || vacuum_scale_factor, 'autovacuum_analyze_scale_factor=' || analyze_scale_factor,
        'autovacuum_vacuum_cost_delay=' || cost_delay_ms
    ]
    FROM ops.autovacuum_setting WHERE named.table_name ~ table_pattern ORDER BY table_pattern LIMIT 1
) AS declared (options)
WHERE found.relkind = 'r' AND NOT (
    coalesce(found.reloptions, '{}') @> declared.options
    AND NOT EXISTS (
        SELECT FROM unnest(found.reloptions) AS option WHERE option LIKE 'autovacuum%' AND option <> ALL (declared.options)
    )
);
COMMENT ON VIEW ops.autovacuum_drift IS 'Tables whose autovacuum settings are not the declared ones; empty when all is well.';
COMMENT ON COLUMN ops.autovacuum_drift.table_name IS 'Table, with its schema.';
COMMENT ON COLUMN ops.autovacuum_drift.options IS 'Its storage parameters.';
COMMENT ON COLUMN ops.autovacuum_drift.declared IS 'What autovacuum_setting wants.';

-- Of one table, or of all that differ. SET takes no lock that readers or writers would wait for.
CREATE FUNCTION ops.apply_autovacuum_settings(of_table text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    drifted record;
    own text[];
    applied integer := 0;
BEGIN
    FOR drifted IN SELECT table_name, options, declared FROM ops.autovacuum_drift WHERE of_table IS NULL OR table_name = of_table LOOP
        SELECT array_agg(split_part(option, '=', 1)) INTO own FROM unnest(drifted.options) AS option WHERE option LIKE 'autovacuum%';
        IF own IS NOT NULL THEN
            EXECUTE format('ALTER TABLE %s RESET (%s)', drifted.table_name::regclass, array_to_string(own, ', '));
        END IF;
        EXECUTE format('ALTER TABLE %s SET (%s)', drifted.table_name::regclass, array_to_string(drifted.declared, ', '));
        applied := applied + 1;
    END LOOP;
    RETURN applied;
END
$$;
COMMENT ON FUNCTION ops.apply_autovacuum_settings(text) IS 'Give a table, or every table that differs, its declared autovacuum settings; returns how many. For the owner.';
REVOKE ALL ON FUNCTION ops.apply_autovacuum_settings(text) FROM PUBLIC;
SELECT ops.apply_autovacuum_settings();

CREATE OR REPLACE FUNCTION live_data.create_day_partition(of_table text, for_day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    table_name text := of_table || '_' || to_char(for_day, 'YYYYMMDD');
BEGIN
    IF of_table IS NULL OR of_table NOT IN ('answer', 'price_log') THEN
        RAISE EXCEPTION 'live_data.% is not partitioned by day', of_table USING ERRCODE = '22023';
    END IF;
    IF for_day IS NULL OR abs(for_day - current_date) > 3660 THEN
        RAISE EXCEPTION 'day % is not within ten years', for_day USING ERRCODE = '22023';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('strikecast.' || of_table), hashtext(table_name));
    IF to_regclass(format('live_data.%I', table_name)) IS NULL THEN
        -- Attached, not created as a partition: that would lock the parent against readers and writers.
        EXECUTE format('CREATE TABLE live_data.%I (LIKE live_data.%I INCLUDING ALL)', table_name, of_table);
        EXECUTE format('ALTER TABLE live_data.%I ATTACH PARTITION live_data.%I FOR VALUES FROM (%L) TO (%L)',
            of_table, table_name, for_day::timestamp AT TIME ZONE 'UTC', (for_day + 1)::timestamp AT TIME ZONE 'UTC');
        EXECUTE format('COMMENT ON TABLE live_data.%I IS %L', table_name, of_table || ', ' || for_day || ' (UTC).');
        PERFORM ops.apply_autovacuum_settings('live_data.' || table_name);
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION historical_data.create_symbol_partitions(new_symbol text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parent text;
    table_name text;
BEGIN
    IF new_symbol !~ '^[A-Z][A-Z0-9]{0,15}$' THEN
        RAISE EXCEPTION 'symbol % must be capital letters and digits, 16 at most', new_symbol USING ERRCODE = '22023';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('strikecast.partitions'), hashtext(new_symbol));
    FOREACH parent IN ARRAY ARRAY['price_history', 'momentum'] LOOP
        table_name := parent || '_' || lower(new_symbol);
        IF to_regclass(format('historical_data.%I', table_name)) IS NULL THEN
            -- Attached rather than created in place: attaching does not lock readers of the other symbols out.
            EXECUTE format('CREATE TABLE historical_data.%I (LIKE historical_data.%I INCLUDING ALL)', table_name, parent);
            EXECUTE format('ALTER TABLE historical_data.%I ATTACH PARTITION historical_data.%I FOR VALUES IN (%L)',
                parent, table_name, new_symbol);
            EXECUTE format('COMMENT ON TABLE historical_data.%I IS %L', table_name, new_symbol || ' rows of ' || parent || '.');
            PERFORM ops.apply_autovacuum_settings('historical_data.' || table_name);
        END IF;
    END LOOP;
END
$$;

GRANT SELECT ON ops.autovacuum_setting, ops.autovacuum_drift TO strikecast_pipeline, strikecast_reader;
