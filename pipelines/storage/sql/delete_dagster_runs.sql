-- In one statement: a run that is gone leaves no event that nobody would find again.
WITH victim AS (
    SELECT run_id FROM runs
    WHERE run_id = ANY (%(runs)s) AND status IN ('SUCCESS', 'FAILURE', 'CANCELED')
    FOR UPDATE SKIP LOCKED
), event AS (
    DELETE FROM event_logs USING victim WHERE event_logs.run_id = victim.run_id RETURNING event_logs.id
), event_tag AS (
    DELETE FROM asset_event_tags USING event WHERE asset_event_tags.event_id = event.id RETURNING 1
), executed_check AS (
    DELETE FROM asset_check_executions USING victim WHERE asset_check_executions.run_id = victim.run_id RETURNING 1
), tag AS (
    DELETE FROM run_tags USING victim WHERE run_tags.run_id = victim.run_id RETURNING 1
), run AS (
    DELETE FROM runs USING victim WHERE runs.run_id = victim.run_id RETURNING runs.run_id
)
SELECT (SELECT count(*) FROM run) AS runs, (SELECT count(*) FROM event) AS event_logs,
    (SELECT count(*) FROM event_tag) AS asset_event_tags, (SELECT count(*) FROM executed_check) AS asset_check_executions,
    (SELECT count(*) FROM tag) AS run_tags
