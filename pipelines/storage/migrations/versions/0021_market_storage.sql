CREATE FUNCTION market_data.create_day_partition(of_table text, for_day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    table_name text := of_table || '_' || to_char(for_day, 'YYYYMMDD');
BEGIN
    IF of_table IS DISTINCT FROM 'market_quote' THEN
        RAISE EXCEPTION 'market_data.% is not partitioned by day', of_table USING ERRCODE = '22023';
    END IF;
    IF for_day IS NULL OR abs(for_day - current_date) > 3660 THEN
        RAISE EXCEPTION 'day % is not within ten years', for_day USING ERRCODE = '22023';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('strikecast.' || of_table));
    IF to_regclass(format('market_data.%I', table_name)) IS NULL THEN
        -- Attached, not created as a partition: that would lock the parent against readers and writers.
        EXECUTE format('CREATE TABLE market_data.%I (LIKE market_data.%I INCLUDING ALL)', table_name, of_table);
        EXECUTE format('ALTER TABLE market_data.%I ATTACH PARTITION market_data.%I FOR VALUES FROM (%L) TO (%L)',
            of_table, table_name, for_day::timestamp AT TIME ZONE 'UTC', (for_day + 1)::timestamp AT TIME ZONE 'UTC');
        EXECUTE format('COMMENT ON TABLE market_data.%I IS %L', table_name, of_table || ', ' || for_day || ' (UTC).');
        PERFORM ops.apply_autovacuum_settings('market_data.' || table_name);
    END IF;
END
$$;
COMMENT ON FUNCTION market_data.create_day_partition(text, date) IS 'Create a day''s partition of market_quote, unless it exists.';
REVOKE ALL ON FUNCTION market_data.create_day_partition(text, date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION market_data.create_day_partition(text, date) TO strikecast_live, strikecast_pipeline;

CREATE TABLE market_data.market_revision (
    market_id bigint NOT NULL REFERENCES market_data.market ON DELETE CASCADE,
    revised_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    former_status text NOT NULL,
    former_result text NOT NULL,
    former_settlement_value numeric,
    former_index_value numeric,
    status text NOT NULL,
    result text,
    settlement_value numeric,
    index_value numeric,
    PRIMARY KEY (market_id, revised_at)
);
COMMENT ON TABLE market_data.market_revision IS 'Results that the exchange has revised, with what they were before; written by a trigger of market, whoever changes it.';
COMMENT ON COLUMN market_data.market_revision.market_id IS 'The market.';
COMMENT ON COLUMN market_data.market_revision.revised_at IS 'When the new result was stored, UTC.';
COMMENT ON COLUMN market_data.market_revision.former_status IS 'Status before.';
COMMENT ON COLUMN market_data.market_revision.former_result IS 'Result before.';
COMMENT ON COLUMN market_data.market_revision.former_settlement_value IS 'Settlement value before, dollars.';
COMMENT ON COLUMN market_data.market_revision.former_index_value IS 'Value of the index before, USD.';
COMMENT ON COLUMN market_data.market_revision.status IS 'Status since then.';
COMMENT ON COLUMN market_data.market_revision.result IS 'Result since then; NULL while it is disputed.';
COMMENT ON COLUMN market_data.market_revision.settlement_value IS 'Settlement value since then, dollars.';
COMMENT ON COLUMN market_data.market_revision.index_value IS 'Value of the index since then, USD.';

CREATE FUNCTION market_data.record_revision() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO market_data.market_revision (
        market_id, former_status, former_result, former_settlement_value, former_index_value,
        status, result, settlement_value, index_value
    ) VALUES (
        OLD.market_id, OLD.status, OLD.result, OLD.settlement_value, OLD.index_value,
        NEW.status, NEW.result, NEW.settlement_value, NEW.index_value
    );
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION market_data.record_revision() IS 'Keep a result that is replaced by another one.';
REVOKE ALL ON FUNCTION market_data.record_revision() FROM PUBLIC;
CREATE TRIGGER market_revision AFTER UPDATE ON market_data.market FOR EACH ROW
    WHEN (
        OLD.result IS DISTINCT FROM NEW.result AND OLD.result IS NOT NULL
        OR OLD.settlement_value IS DISTINCT FROM NEW.settlement_value AND OLD.settlement_value IS NOT NULL
        OR OLD.index_value IS DISTINCT FROM NEW.index_value AND OLD.index_value IS NOT NULL AND OLD.result IS NOT NULL
    ) EXECUTE FUNCTION market_data.record_revision();

CREATE TABLE market_data.market_import (
    import_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    imported_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    exchange text NOT NULL,
    symbol text NOT NULL,
    files jsonb NOT NULL,
    rows_read bigint NOT NULL,
    rows_stored bigint NOT NULL,
    rejected jsonb NOT NULL
);
COMMENT ON TABLE market_data.market_import IS 'Imported recordings of markets.';
COMMENT ON COLUMN market_data.market_import.import_id IS 'Number of the import.';
COMMENT ON COLUMN market_data.market_import.imported_at IS 'When it was stored, UTC.';
COMMENT ON COLUMN market_data.market_import.exchange IS 'Exchange of the markets.';
COMMENT ON COLUMN market_data.market_import.symbol IS 'Symbol of the markets.';
COMMENT ON COLUMN market_data.market_import.files IS 'Its files: a list of {"name", "sha256", "kind", "rows"}.';
COMMENT ON COLUMN market_data.market_import.rows_read IS 'Rows of all files.';
COMMENT ON COLUMN market_data.market_import.rows_stored IS 'Rows that were new or corrected.';
COMMENT ON COLUMN market_data.market_import.rejected IS 'Rejected rows: a list of {"file", "reason", "rows", "example"}.';

INSERT INTO ops.autovacuum_setting VALUES
    ('^market_data\.market_quote_[0-9]{8}$', 0.2, 0.05, 10, 'only inserted into, for a day'),
    ('^market_data\.market_candle$', 0.1, 0.05, 10, 'large; changes with each import and backfill'),
    ('^market_data\.market$', 0.1, 0.05, 10, 'each market is updated a few times in its life');
SELECT ops.apply_autovacuum_settings();

SELECT market_data.create_day_partition('market_quote', (now() AT TIME ZONE 'UTC')::date + ahead.days)
FROM generate_series(0, 3) AS ahead (days);

-- The live session and the pipeline write what the exchange says; nobody but the owner deletes. What identifies a row
-- does not change.
GRANT SELECT ON market_data.market_revision, market_data.market_import TO strikecast_pipeline, strikecast_live, strikecast_reader;
GRANT INSERT ON market_data.market, market_data.market_quote TO strikecast_live, strikecast_pipeline;
GRANT INSERT ON market_data.market_fee TO strikecast_pipeline;
GRANT UPDATE (
    event_ticker, series_ticker, symbol, settlement, strike_type, floor_strike, cap_strike, opens_at, closes_at, price_ranges,
    status, result, settlement_value, index_value, changed_at
) ON market_data.market TO strikecast_live, strikecast_pipeline;
GRANT UPDATE (fee_type, multiplier, ends_at, seen_at) ON market_data.market_fee TO strikecast_pipeline;
GRANT INSERT ON market_data.market_candle, market_data.market_import TO strikecast_pipeline;
GRANT UPDATE (
    yes_bid_open, yes_bid_high, yes_bid_low, yes_bid_close, yes_ask_open, yes_ask_high, yes_ask_low, yes_ask_close,
    volume, open_interest, is_derived, quoted_at
) ON market_data.market_candle TO strikecast_pipeline;
