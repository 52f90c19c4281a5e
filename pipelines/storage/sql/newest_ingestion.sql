SELECT coalesce(max(ingestion_id), 0) FROM ops.ingestion WHERE symbol = %s
