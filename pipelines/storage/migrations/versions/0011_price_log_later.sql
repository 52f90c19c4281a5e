-- Days are created a week ahead by a running system. Without one, ticks of later days go to price_log_later, which covers
-- all days after the last one. It is no DEFAULT partition: with one, no partition can be detached concurrently.
UPDATE ops.autovacuum_setting SET table_pattern = '^live_data\.(price_log|answer)_([0-9]{8}|later)$'
WHERE table_pattern = '^live_data\.(price_log|answer)_[0-9]{8}$';

CREATE FUNCTION live_data.attach_price_log_later(first_day date) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF to_regclass('live_data.price_log_later') IS NULL THEN
        CREATE TABLE live_data.price_log_later (LIKE live_data.price_log INCLUDING ALL,
            CONSTRAINT price_log_later_is_not_ahead CHECK (ticked_at - received_at < interval '1 day'));
        COMMENT ON TABLE live_data.price_log_later IS 'price_log, all days after the last one that has a partition.';
        PERFORM ops.apply_autovacuum_settings('live_data.price_log_later');
    END IF;
    EXECUTE format('ALTER TABLE live_data.price_log ATTACH PARTITION live_data.price_log_later FOR VALUES FROM (%L) TO (MAXVALUE)',
        first_day::timestamp AT TIME ZONE 'UTC');
END
$$;
COMMENT ON FUNCTION live_data.attach_price_log_later(date) IS 'Make price_log_later the partition of price_log from this day (UTC) on.';
REVOKE ALL ON FUNCTION live_data.attach_price_log_later(date) FROM PUBLIC;

-- price_log_later moves on by a week at a time. Its detachment locks price_log against readers for milliseconds; behind a
-- long reader, such as pg_dump, it gives up after a second, and the next call tries again.
CREATE OR REPLACE FUNCTION live_data.create_day_partition(of_table text, for_day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    table_name text := of_table || '_' || to_char(for_day, 'YYYYMMDD');
    covering text;
    first_day date;
    last_day date;
BEGIN
    IF of_table IS NULL OR of_table NOT IN ('answer', 'price_log') THEN
        RAISE EXCEPTION 'live_data.% is not partitioned by day', of_table USING ERRCODE = '22023';
    END IF;
    IF for_day IS NULL OR abs(for_day - current_date) > 3660 THEN
        RAISE EXCEPTION 'day % is not within ten years', for_day USING ERRCODE = '22023';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('strikecast.' || of_table));
    SELECT partition.relname, (bounds.first AT TIME ZONE 'UTC')::date INTO covering, first_day
    FROM pg_inherits JOIN pg_class AS partition ON partition.oid = inhrelid
    CROSS JOIN LATERAL (SELECT regexp_match(pg_get_expr(relpartbound, partition.oid), 'FROM \(''(.+)''\) TO \((.+)\)')) AS expression (matched)
    CROSS JOIN LATERAL (SELECT matched[1]::timestamptz, nullif(matched[2], 'MAXVALUE')) AS bounds (first, stop)
    WHERE inhparent = ('live_data.' || of_table)::regclass AND bounds.first <= for_day::timestamp AT TIME ZONE 'UTC'
        AND (bounds.stop IS NULL OR trim(bounds.stop, '''')::timestamptz > for_day::timestamp AT TIME ZONE 'UTC');
    IF covering = 'price_log_later' THEN
        ALTER TABLE live_data.price_log DETACH PARTITION live_data.price_log_later;
        SELECT greatest((now() AT TIME ZONE 'UTC')::date, max(ticked_at AT TIME ZONE 'UTC')::date) INTO last_day FROM live_data.price_log_later;
        IF last_day >= first_day THEN
            -- Nobody created these days in time: they stay together in one partition, named after the last of them.
            table_name := 'price_log_' || to_char(last_day, 'YYYYMMDD');
            ALTER TABLE live_data.price_log_later DROP CONSTRAINT price_log_later_is_not_ahead;
            EXECUTE format('ALTER INDEX live_data.price_log_later_pkey RENAME TO %I', table_name || '_pkey');
            EXECUTE format('ALTER TABLE live_data.price_log_later RENAME TO %I', table_name);
            EXECUTE format('ALTER TABLE live_data.price_log ATTACH PARTITION live_data.%I FOR VALUES FROM (%L) TO (%L)',
                table_name, first_day::timestamp AT TIME ZONE 'UTC', (last_day + 1)::timestamp AT TIME ZONE 'UTC');
            EXECUTE format('COMMENT ON TABLE live_data.%I IS %L', table_name, 'price_log, ' || first_day || ' to ' || last_day || ' (UTC).');
            first_day := last_day + 1;
        END IF;
        WHILE first_day < for_day + 7 LOOP
            PERFORM live_data.create_day_partition('price_log', first_day);
            first_day := first_day + 1;
        END LOOP;
        PERFORM live_data.attach_price_log_later(first_day);
    ELSIF covering IS NULL AND to_regclass(format('live_data.%I', table_name)) IS NULL THEN
        -- Attached, not created as a partition: that would lock the parent against readers and writers.
        EXECUTE format('CREATE TABLE live_data.%I (LIKE live_data.%I INCLUDING ALL)', table_name, of_table);
        PERFORM ops.apply_autovacuum_settings('live_data.' || table_name);
        EXECUTE format('ALTER TABLE live_data.%I ATTACH PARTITION live_data.%I FOR VALUES FROM (%L) TO (%L)',
            of_table, table_name, for_day::timestamp AT TIME ZONE 'UTC', (for_day + 1)::timestamp AT TIME ZONE 'UTC');
        EXECUTE format('COMMENT ON TABLE live_data.%I IS %L', table_name, of_table || ', ' || for_day || ' (UTC).');
    END IF;
END
$$;

SELECT live_data.attach_price_log_later(max(to_date(right(relname, 8), 'YYYYMMDD')) + 1)
FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = 'live_data.price_log'::regclass;
