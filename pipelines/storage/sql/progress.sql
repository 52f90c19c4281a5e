SELECT progress.parameters_id, progress.ingestion_id, progress.done_until,
    (
        SELECT min(first_changed_at) FROM ops.ingestion
        WHERE ingestion.symbol = progress.symbol AND ingestion.ingestion_id > progress.ingestion_id
    ) AS first_changed_at
FROM ops.progress WHERE symbol = %s AND asset = %s
