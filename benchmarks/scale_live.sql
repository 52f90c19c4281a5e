-- name: insert_prices
INSERT INTO live_data.price_log (symbol, ticked_at, price, source)
SELECT symbol, %s, %s, 'bench' FROM unnest(%s::text[]) AS symbol

-- name: insert_past
INSERT INTO live_data.price_log (symbol, ticked_at, price, source)
SELECT symbol, %s - minute * interval '1 minute', %s, 'bench' FROM unnest(%s::text[]) AS symbol, generate_series(1, 32) AS minute
ON CONFLICT DO NOTHING

-- name: create_day_partition
SELECT live_data.create_day_partition('price_log', %s)
