-- What a day leaves; %(day)s is its first instant.
SELECT live_data.create_day_partition(name, (%(day)s AT TIME ZONE 'UTC')::date)
FROM unnest(ARRAY['price_log', 'answer']) AS name;

INSERT INTO live_data.price_log (symbol, ticked_at, price, source)
SELECT symbol, %(day)s + n * interval '1 minute', 100 + n, 'month'
FROM unnest(%(symbols)s::text[]) AS symbol, generate_series(0, 1439) AS n;

INSERT INTO live_data.answer (symbol, answered_at, market_close, ttc_seconds, price, model, generation, strikes, prob_beyond, status, settlement)
SELECT symbol, %(day)s + n * interval '1 minute', %(day)s + (n / 60 + 1) * interval '1 hour', 3600 - n %% 60 * 60, 100,
    'momentum', 1, array_fill(100::float8, ARRAY[21]), array_fill(50::real, ARRAY[21]), 'ok', 'last_price'
FROM unnest(%(symbols)s::text[]) AS symbol, generate_series(0, 1439) AS n;

WITH saved AS (
    INSERT INTO live_data.session_snapshots (session_id, created_at, session_start_time, mode, config, loop_count, status, snapshot_type)
    SELECT 'month-' || to_char(%(day)s, 'YYYYMMDD-') || n / 60, %(day)s + n * interval '1 minute', %(day)s, 'live', '{}', n,
        CASE WHEN n %% 60 = 59 THEN 'stopped' ELSE 'running' END, 'periodic'
    FROM generate_series(0, 1439) AS n
    RETURNING snapshot_id
)
INSERT INTO live_data.metrics_snapshots (snapshot_id, trades_opened) SELECT snapshot_id, 0 FROM saved;

INSERT INTO live_data.session (status, symbols, started_at, heartbeat_at, ended_at, cycles)
SELECT 'stopped', %(symbols)s, %(day)s + n * interval '1 hour', %(day)s + (n + 1) * interval '1 hour',
    %(day)s + (n + 1) * interval '1 hour', 3600
FROM generate_series(0, 23) AS n;
