WITH victim AS (
    SELECT id FROM asset_daemon_asset_evaluations WHERE create_timestamp < %(before)s ORDER BY id LIMIT %(batch)s FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM asset_daemon_asset_evaluations AS evaluation USING victim WHERE evaluation.id = victim.id RETURNING 1
)
SELECT count(*) AS asset_daemon_asset_evaluations FROM gone
