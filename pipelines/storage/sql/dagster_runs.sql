-- What is newest of each asset and partition, by kind of event, and of each check: its run stays.
WITH newest_event AS (
    SELECT DISTINCT ON (asset_key, partition, dagster_event_type) run_id
    FROM event_logs
    WHERE asset_key IS NOT NULL AND dagster_event_type IN ('ASSET_MATERIALIZATION', 'ASSET_OBSERVATION')
    ORDER BY asset_key, partition, dagster_event_type, id DESC
), newest_check AS (
    SELECT DISTINCT ON (asset_key, check_name, partition) run_id FROM asset_check_executions
    ORDER BY asset_key, check_name, partition, id DESC
), holder AS (
    SELECT run_id FROM newest_event UNION SELECT run_id FROM newest_check
)
SELECT runs.run_id, runs.pipeline_name AS job,
    CASE WHEN runs.status IN ('SUCCESS', 'FAILURE', 'CANCELED')
        THEN coalesce(to_timestamp(runs.end_time), runs.update_timestamp AT TIME ZONE 'UTC') END AS ended_at,
    holder.run_id IS NOT NULL AS holds_newest
FROM runs LEFT JOIN holder ON holder.run_id = runs.run_id
