INSERT INTO ops.progress (symbol, asset, ingestion_id, parameters_id, done_until)
VALUES (%(symbol)s, %(asset)s, %(ingestion_id)s, %(parameters_id)s, %(done_until)s)
ON CONFLICT (symbol, asset) DO UPDATE
SET ingestion_id = excluded.ingestion_id, parameters_id = excluded.parameters_id, done_until = excluded.done_until
