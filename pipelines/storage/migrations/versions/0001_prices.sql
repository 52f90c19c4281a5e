CREATE TABLE historical_data.price_history (
    symbol text NOT NULL,
    opened_at timestamptz NOT NULL,
    open double precision NOT NULL,
    high double precision NOT NULL,
    low double precision NOT NULL,
    close double precision NOT NULL,
    volume double precision NOT NULL,
    PRIMARY KEY (symbol, opened_at),
    CONSTRAINT price_history_on_the_minute CHECK (extract(epoch FROM opened_at) % 60 = 0),
    CONSTRAINT price_history_ohlc CHECK (
        low > 0 AND low <= open AND low <= close AND high >= open AND high >= close AND high < 'Infinity'
    ),
    CONSTRAINT price_history_volume CHECK (volume >= 0 AND volume < 'Infinity')
) PARTITION BY LIST (symbol);
COMMENT ON TABLE historical_data.price_history IS
    'One-minute bars, one partition per symbol. A missing minute is absent, never filled; a running minute is not stored.';
COMMENT ON COLUMN historical_data.price_history.symbol IS 'Symbol in capitals, such as BTC.';
COMMENT ON COLUMN historical_data.price_history.opened_at IS 'Start of the minute, UTC.';
COMMENT ON COLUMN historical_data.price_history.open IS 'First price of the minute, USD.';
COMMENT ON COLUMN historical_data.price_history.high IS 'Highest price of the minute, USD.';
COMMENT ON COLUMN historical_data.price_history.low IS 'Lowest price of the minute, USD.';
COMMENT ON COLUMN historical_data.price_history.close IS 'Last price of the minute, USD.';
COMMENT ON COLUMN historical_data.price_history.volume IS 'Traded volume in the minute, in coins.';

CREATE TABLE historical_data.momentum (
    symbol text NOT NULL,
    opened_at timestamptz NOT NULL,
    momentum_score_pct double precision NOT NULL CHECK (momentum_score_pct NOT IN ('NaN', 'Infinity', '-Infinity')),
    momentum_bucket smallint NOT NULL,
    PRIMARY KEY (symbol, opened_at)
) PARTITION BY LIST (symbol);
COMMENT ON TABLE historical_data.momentum IS
    'Momentum of each bar, one partition per symbol. Bars whose lagged closes are missing have no row.';
COMMENT ON COLUMN historical_data.momentum.symbol IS 'Symbol in capitals, such as BTC.';
COMMENT ON COLUMN historical_data.momentum.opened_at IS 'Start of the bar''s minute, UTC.';
COMMENT ON COLUMN historical_data.momentum.momentum_score_pct IS 'Weighted return against 1, 2, 3, 4, 15 and 30 minutes ago, percent.';
COMMENT ON COLUMN historical_data.momentum.momentum_bucket IS 'Score in basis points, rounded half to even, clamped to -30..30; -128 for no bucket (source profile, beyond 30).';

CREATE TABLE historical_data.price_gap (
    symbol text NOT NULL,
    first_missing_at timestamptz NOT NULL,
    last_missing_at timestamptz NOT NULL,
    missing_minutes integer NOT NULL CHECK (missing_minutes > 0),
    PRIMARY KEY (symbol, first_missing_at)
);
COMMENT ON TABLE historical_data.price_gap IS 'Runs of missing minutes between a symbol''s first and last bar.';
COMMENT ON COLUMN historical_data.price_gap.symbol IS 'Symbol in capitals, such as BTC.';
COMMENT ON COLUMN historical_data.price_gap.first_missing_at IS 'First missing minute, UTC.';
COMMENT ON COLUMN historical_data.price_gap.last_missing_at IS 'Last missing minute, UTC.';
COMMENT ON COLUMN historical_data.price_gap.missing_minutes IS 'Number of missing minutes.';

CREATE TABLE historical_data.quarantined_bar (
    symbol text NOT NULL,
    file_sha256 text NOT NULL,
    source_row bigint NOT NULL,
    reason text NOT NULL,
    source_file text NOT NULL,
    raw jsonb NOT NULL,
    quarantined_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, file_sha256, source_row)
);
COMMENT ON TABLE historical_data.quarantined_bar IS 'Rows of price files that were refused, each with its reason; never loaded, never silently dropped.';
COMMENT ON COLUMN historical_data.quarantined_bar.symbol IS 'Symbol the file was ingested for.';
COMMENT ON COLUMN historical_data.quarantined_bar.file_sha256 IS 'SHA-256 of the file, so that ingesting it twice changes nothing.';
COMMENT ON COLUMN historical_data.quarantined_bar.source_row IS 'Data row in the file, counted from 1 after the header.';
COMMENT ON COLUMN historical_data.quarantined_bar.reason IS 'Why the row was refused, one word per kind of defect.';
COMMENT ON COLUMN historical_data.quarantined_bar.source_file IS 'Name of the file, without its folder.';
COMMENT ON COLUMN historical_data.quarantined_bar.raw IS 'The row as it stood in the file.';
COMMENT ON COLUMN historical_data.quarantined_bar.quarantined_at IS 'When the row was refused first, UTC.';

CREATE TABLE ops.ingestion (
    ingestion_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    symbol text NOT NULL,
    files text[] NOT NULL,
    rows_read bigint NOT NULL,
    inserted bigint NOT NULL,
    corrected bigint NOT NULL,
    unchanged bigint NOT NULL,
    quarantined bigint NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE ops.ingestion IS 'One row per finished ingestion of price files.';
COMMENT ON COLUMN ops.ingestion.ingestion_id IS 'Running number.';
COMMENT ON COLUMN ops.ingestion.symbol IS 'Symbol ingested for.';
COMMENT ON COLUMN ops.ingestion.files IS 'Names of the files, without their folders.';
COMMENT ON COLUMN ops.ingestion.rows_read IS 'Rows in the files; equals inserted + corrected + unchanged + quarantined.';
COMMENT ON COLUMN ops.ingestion.inserted IS 'Bars that were new.';
COMMENT ON COLUMN ops.ingestion.corrected IS 'Bars that replaced a stored bar with other values.';
COMMENT ON COLUMN ops.ingestion.unchanged IS 'Bars that were stored already.';
COMMENT ON COLUMN ops.ingestion.quarantined IS 'Rows refused.';
COMMENT ON COLUMN ops.ingestion.started_at IS 'Start, UTC.';
COMMENT ON COLUMN ops.ingestion.finished_at IS 'Commit, UTC.';

-- Partitions belong to the owner; the pipeline asks for one by name and gets nothing else of the owner's.
CREATE FUNCTION historical_data.create_symbol_partitions(new_symbol text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parent text;
BEGIN
    IF new_symbol !~ '^[A-Z][A-Z0-9]{0,15}$' THEN
        RAISE EXCEPTION 'symbol % must be capital letters and digits, 16 at most', new_symbol USING ERRCODE = '22023';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('strikecast.partitions'), hashtext(new_symbol));
    FOREACH parent IN ARRAY ARRAY['price_history', 'momentum'] LOOP
        IF to_regclass(format('historical_data.%I', parent || '_' || lower(new_symbol))) IS NULL THEN
            -- Attached rather than created in place: attaching does not lock readers of the other symbols out.
            EXECUTE format('CREATE TABLE historical_data.%I (LIKE historical_data.%I INCLUDING ALL)',
                parent || '_' || lower(new_symbol), parent);
            EXECUTE format('ALTER TABLE historical_data.%I ATTACH PARTITION historical_data.%I FOR VALUES IN (%L)',
                parent, parent || '_' || lower(new_symbol), new_symbol);
            EXECUTE format('COMMENT ON TABLE historical_data.%I IS %L',
                parent || '_' || lower(new_symbol), new_symbol || ' rows of ' || parent || '.');
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION historical_data.create_symbol_partitions(text) IS 'Create a symbol''s partitions of price_history and momentum, unless they exist.';

-- Only an owner may analyze, and autovacuum never analyzes a partitioned parent.
CREATE FUNCTION historical_data.analyze_symbol(changed_symbol text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parent text;
BEGIN
    FOREACH parent IN ARRAY ARRAY['price_history', 'momentum'] LOOP
        EXECUTE format('ANALYZE historical_data.%I', parent || '_' || lower(changed_symbol));
    END LOOP;
END
$$;
COMMENT ON FUNCTION historical_data.analyze_symbol(text) IS 'Refresh the planner''s statistics of a symbol''s partitions.';
REVOKE ALL ON FUNCTION historical_data.create_symbol_partitions(text), historical_data.analyze_symbol(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION historical_data.create_symbol_partitions(text), historical_data.analyze_symbol(text)
    TO strikecast_pipeline;

GRANT SELECT, INSERT, UPDATE, DELETE ON historical_data.price_history, historical_data.momentum, historical_data.price_gap,
    historical_data.quarantined_bar TO strikecast_pipeline;
GRANT SELECT, INSERT ON ops.ingestion TO strikecast_pipeline;
GRANT SELECT ON ALL TABLES IN SCHEMA historical_data, ops TO strikecast_reader;
GRANT SELECT ON historical_data.price_history TO strikecast_live;
