-- One function makes the days of every table that is partitioned by day.
DROP FUNCTION live_data.create_answer_partition(date);
CREATE FUNCTION live_data.create_day_partition(of_table text, for_day date) RETURNS void
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
    END IF;
END
$$;
COMMENT ON FUNCTION live_data.create_day_partition(text, date) IS 'Create a day''s partition of answer or price_log, unless it exists.';
REVOKE ALL ON FUNCTION live_data.create_day_partition(text, date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION live_data.create_day_partition(text, date) TO strikecast_live, strikecast_pipeline;

ALTER TABLE live_data.price_log RENAME TO price_log_before;
ALTER TABLE live_data.price_log_before RENAME CONSTRAINT price_log_pkey TO price_log_before_pkey;
DROP TRIGGER price_log_notify ON live_data.price_log_before;

CREATE TABLE live_data.price_log (
    symbol text NOT NULL,
    ticked_at timestamptz(3) NOT NULL,
    price double precision NOT NULL CHECK (price > 0 AND price < 'Infinity'),
    source text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    mean_1m double precision,
    momentum_score double precision,
    delta_1m double precision,
    delta_2m double precision,
    delta_3m double precision,
    delta_4m double precision,
    delta_15m double precision,
    delta_30m double precision,
    missing_lags smallint[],
    PRIMARY KEY (symbol, ticked_at)
) PARTITION BY RANGE (ticked_at);
COMMENT ON TABLE live_data.price_log IS 'Ticks as they arrive, from any producer, partitioned by day (UTC); each insert wakes the live session. A producer gives symbol, ticked_at, price and source; the session adds the rest.';
COMMENT ON COLUMN live_data.price_log.symbol IS 'Symbol in capitals, such as BTC.';
COMMENT ON COLUMN live_data.price_log.ticked_at IS 'When the price was made, UTC, to the millisecond.';
COMMENT ON COLUMN live_data.price_log.price IS 'Price, USD.';
COMMENT ON COLUMN live_data.price_log.source IS 'Who delivered it: replay, an exchange, or another producer''s name.';
COMMENT ON COLUMN live_data.price_log.received_at IS 'When the row was inserted, UTC.';
COMMENT ON COLUMN live_data.price_log.mean_1m IS 'Mean of the ticks of the minute up to this one, USD; NULL until a session has seen the tick.';
COMMENT ON COLUMN live_data.price_log.momentum_score IS 'Momentum score, percent. Where missing_lags is not empty it is partial: the lags that are known, with their weights scaled to one. NULL when none is.';
COMMENT ON COLUMN live_data.price_log.delta_1m IS 'Change over 1 minute, percent; NULL without a tick near that instant.';
COMMENT ON COLUMN live_data.price_log.delta_2m IS 'Change over 2 minutes, percent; NULL without a tick near that instant.';
COMMENT ON COLUMN live_data.price_log.delta_3m IS 'Change over 3 minutes, percent; NULL without a tick near that instant.';
COMMENT ON COLUMN live_data.price_log.delta_4m IS 'Change over 4 minutes, percent; NULL without a tick near that instant.';
COMMENT ON COLUMN live_data.price_log.delta_15m IS 'Change over 15 minutes, percent; NULL without a tick near that instant.';
COMMENT ON COLUMN live_data.price_log.delta_30m IS 'Change over 30 minutes, percent; NULL without a tick near that instant.';
COMMENT ON COLUMN live_data.price_log.missing_lags IS 'Lags in minutes without a tick at most 90 s older than they ask; empty when momentum is whole, NULL until a session has seen the tick.';

SELECT live_data.create_day_partition('price_log', day::date)
FROM (SELECT DISTINCT (ticked_at AT TIME ZONE 'UTC')::date FROM live_data.price_log_before) AS used (day);
INSERT INTO live_data.price_log (symbol, ticked_at, price, source, received_at)
SELECT symbol, ticked_at, price, source, received_at FROM live_data.price_log_before
ORDER BY symbol, ticked_at
ON CONFLICT (symbol, ticked_at) DO NOTHING; -- within one millisecond
DROP TABLE live_data.price_log_before;

SELECT live_data.create_day_partition(partitioned.name, ((now() AT TIME ZONE 'UTC')::date + ahead.days))
FROM unnest(ARRAY['answer', 'price_log']) AS partitioned (name) CROSS JOIN generate_series(0, 3) AS ahead (days);

CREATE TRIGGER price_log_notify AFTER INSERT ON live_data.price_log
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION live_data.notify_tick();

GRANT SELECT, INSERT ON live_data.price_log TO strikecast_live;
GRANT UPDATE (mean_1m, momentum_score, delta_1m, delta_2m, delta_3m, delta_4m, delta_15m, delta_30m, missing_lags)
    ON live_data.price_log TO strikecast_live;
GRANT SELECT ON live_data.price_log TO strikecast_pipeline, strikecast_reader;
