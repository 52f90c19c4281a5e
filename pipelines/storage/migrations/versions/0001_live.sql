CREATE TABLE live_data.price_log (
    symbol text NOT NULL,
    ticked_at timestamptz NOT NULL,
    price double precision NOT NULL CHECK (price > 0 AND price < 'Infinity'),
    source text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (symbol, ticked_at)
);
COMMENT ON TABLE live_data.price_log IS 'Ticks as they arrive, from any producer; each insert wakes the live session.';
COMMENT ON COLUMN live_data.price_log.symbol IS 'Symbol in capitals, such as BTC.';
COMMENT ON COLUMN live_data.price_log.ticked_at IS 'When the price was made, UTC.';
COMMENT ON COLUMN live_data.price_log.price IS 'Price, USD.';
COMMENT ON COLUMN live_data.price_log.source IS 'Who delivered it: replay, or another producer''s name.';
COMMENT ON COLUMN live_data.price_log.received_at IS 'When the row was inserted, UTC.';

CREATE FUNCTION live_data.notify_tick() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('strikecast_tick', symbol) FROM (SELECT DISTINCT symbol FROM inserted) AS ticked;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION live_data.notify_tick() IS 'Tell listeners which symbols got a tick.';
CREATE TRIGGER price_log_notify AFTER INSERT ON live_data.price_log
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION live_data.notify_tick();

CREATE TABLE live_data.session (
    session_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dagster_run_id text,
    status text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'stopped', 'crashed')),
    symbols text[] NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    cycles bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE live_data.session IS 'One row per live session: one process that refreshes the probability files of all symbols.';
COMMENT ON COLUMN live_data.session.session_id IS 'Running number.';
COMMENT ON COLUMN live_data.session.dagster_run_id IS 'The Dagster run of the session; NULL for one from the command line.';
COMMENT ON COLUMN live_data.session.status IS 'running, stopped (it ended itself) or crashed (its successor found it dead).';
COMMENT ON COLUMN live_data.session.symbols IS 'Symbols refreshed.';
COMMENT ON COLUMN live_data.session.started_at IS 'Start, UTC.';
COMMENT ON COLUMN live_data.session.heartbeat_at IS 'Last sign of life, UTC.';
COMMENT ON COLUMN live_data.session.ended_at IS 'End, UTC; NULL while it runs.';
COMMENT ON COLUMN live_data.session.cycles IS 'Refreshes so far, of all symbols together.';

GRANT SELECT, INSERT ON live_data.price_log TO strikecast_live;
GRANT SELECT, INSERT, UPDATE ON live_data.session TO strikecast_live;
GRANT SELECT ON live_data.session, live_data.price_log TO strikecast_pipeline;
GRANT SELECT ON ALL TABLES IN SCHEMA live_data TO strikecast_reader;
