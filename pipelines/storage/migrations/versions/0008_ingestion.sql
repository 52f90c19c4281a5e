ALTER TABLE ops.ingestion ADD COLUMN absent bigint NOT NULL DEFAULT 0, ADD COLUMN repeated bigint NOT NULL DEFAULT 0,
    ADD COLUMN archived bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN ops.ingestion.archived IS 'Bars of archived months in the folder of prices, which stay archived.';
COMMENT ON COLUMN ops.ingestion.absent IS 'Rows of minutes without trades.';
COMMENT ON COLUMN ops.ingestion.repeated IS 'Rows equal to an earlier row.';
COMMENT ON COLUMN ops.ingestion.rows_read IS 'Rows in the files; equals inserted + corrected + unchanged + quarantined + absent + repeated + archived.';
COMMENT ON COLUMN ops.ingestion.quarantined IS 'Rows refused; quarantined_bar keeps at most 1,000 of each file and reason.';

-- A symbol's first bars are loaded into a table without an index, which then becomes the partition: a primary key that is
-- built afterwards takes a third of the time of one that grows with each row.
CREATE FUNCTION historical_data.begin_first_load(new_symbol text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    table_name text := 'price_history_' || lower(new_symbol);
BEGIN
    IF new_symbol !~ '^[A-Z][A-Z0-9]{0,15}$' THEN
        RAISE EXCEPTION 'symbol % must be capital letters and digits, 16 at most', new_symbol USING ERRCODE = '22023';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('strikecast.partitions'), hashtext(new_symbol));
    IF to_regclass(format('historical_data.%I', table_name)) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE historical_data.%I (LIKE historical_data.price_history INCLUDING ALL EXCLUDING INDEXES)', table_name);
    EXECUTE format('GRANT INSERT ON historical_data.%I TO strikecast_pipeline', table_name);
    RETURN true;
END
$$;
COMMENT ON FUNCTION historical_data.begin_first_load(text) IS 'Create the table that becomes a new symbol''s partition of price_history; false when the symbol has one. In the transaction that calls finish_first_load.';

CREATE FUNCTION historical_data.finish_first_load(new_symbol text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    table_name text := 'price_history_' || lower(new_symbol);
BEGIN
    EXECUTE format('REVOKE INSERT ON historical_data.%I FROM strikecast_pipeline', table_name);
    EXECUTE format('ALTER TABLE historical_data.%I ADD PRIMARY KEY (symbol, opened_at)', table_name);
    EXECUTE format('ALTER TABLE historical_data.price_history ATTACH PARTITION historical_data.%I FOR VALUES IN (%L)', table_name, new_symbol);
    EXECUTE format('COMMENT ON TABLE historical_data.%I IS %L', table_name, new_symbol || ' rows of price_history.');
    PERFORM ops.apply_autovacuum_settings('historical_data.' || table_name);
    PERFORM historical_data.create_symbol_partitions(new_symbol);
END
$$;
COMMENT ON FUNCTION historical_data.finish_first_load(text) IS 'Make the table of begin_first_load the symbol''s partition, with its key.';
REVOKE ALL ON FUNCTION historical_data.begin_first_load(text), historical_data.finish_first_load(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION historical_data.begin_first_load(text), historical_data.finish_first_load(text) TO strikecast_pipeline;

-- Whole minutes in integer arithmetic: with numeric, this check took a tenth of a load.
ALTER TABLE historical_data.price_history DROP CONSTRAINT price_history_on_the_minute;
ALTER TABLE historical_data.price_history ADD CONSTRAINT price_history_on_the_minute CHECK (date_bin('1 minute', opened_at, '2000-01-01 00:00:00+00') = opened_at);
