-- name: insert_scratch
INSERT INTO ops.audit_scratch (symbol, ticked_at, price, source) VALUES (%s, %s, %s, 'audit')

-- name: update_scratch
UPDATE ops.audit_scratch SET price = price + 1 WHERE symbol = %s AND ticked_at = %s

-- name: delete_scratch
-- Rows of this audit, and of killed ones.
DELETE FROM ops.audit_scratch WHERE symbol = %s OR received_at < clock_timestamp() - interval '1 hour'

-- name: one_core
SET max_parallel_workers_per_gather = 0

-- name: bar_by_key
SELECT opened_at, close FROM historical_data.price_history WHERE symbol = %s AND opened_at = %s

-- name: bars_by_volume
-- Reads every bar of the symbol, as there is no index on volume.
SELECT count(*) FROM historical_data.price_history WHERE symbol = %s AND volume = %s
