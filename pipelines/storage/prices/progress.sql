-- name: newest_ingestion
SELECT coalesce(max(ingestion_id), 0) FROM ops.ingestion WHERE symbol = %s

-- name: progress
SELECT progress.parameters_id, progress.profile, progress.ingestion_id, progress.done_until,
    (
        SELECT min(first_changed_at) FROM ops.ingestion
        WHERE ingestion.symbol = progress.symbol AND ingestion.ingestion_id > progress.ingestion_id
    ) AS first_changed_at
FROM ops.progress WHERE symbol = %s AND asset = %s

-- name: record_progress
INSERT INTO ops.progress (symbol, asset, ingestion_id, parameters_id, profile, done_until)
VALUES (%(symbol)s, %(asset)s, %(ingestion_id)s, %(parameters_id)s, %(profile)s, %(done_until)s)
ON CONFLICT (symbol, asset) DO UPDATE
SET ingestion_id = excluded.ingestion_id, parameters_id = excluded.parameters_id, profile = excluded.profile,
    done_until = excluded.done_until

-- name: restart
UPDATE ops.progress SET done_until = 'epoch' WHERE symbol = %s AND asset = ANY (%s)

-- name: symbols_to_build
-- Bars that changed after the newest published generation was begun are in none; a generation of a model of moves counts
-- only where there is no other model, since it is published also when the build of that fails. Runs of a symbol exclude
-- each other, so that no ingestion ends while its build reads bars.
SELECT changed.symbol, changed.ingestion_id
FROM (
    SELECT symbol, max(ingestion_id) AS ingestion_id, max(finished_at) AS finished_at
    FROM ops.ingestion WHERE symbol = ANY (%s) AND first_changed_at IS NOT NULL GROUP BY symbol
) AS changed
LEFT JOIN (
    SELECT symbol,
        coalesce(max(created_at) FILTER (WHERE model NOT IN ('momentum', 'climatology')), max(created_at)) AS begun_at
    FROM analytics.model_version WHERE origin = 'built' AND published_at IS NOT NULL GROUP BY symbol
) AS built USING (symbol)
WHERE built.begun_at IS NULL OR built.begun_at < changed.finished_at
ORDER BY changed.symbol
