-- name: try_job_lock
SELECT pg_try_advisory_lock(%s, hashtext(%s))

-- name: disable_synchronous_commit
SELECT set_config('synchronous_commit', 'off', false)

-- name: latest_planned_for
SELECT max(planned_for) FROM ops.maintenance WHERE job = %s AND finished_at IS NOT NULL

-- name: start_maintenance
INSERT INTO ops.maintenance (job, dagster_run_id, planned_for, plan) VALUES (%(job)s, %(run_id)s, %(now)s, %(plan)s)
RETURNING maintenance_id

-- name: finish_maintenance
UPDATE ops.maintenance SET finished_at = clock_timestamp(), result = %(result)s WHERE maintenance_id = %(maintenance_id)s

-- name: repeatedly_skipped
-- Jobs that skipped steps in both of their two newest runs, and the newest reason. Results store the reasons as 'left'.
SELECT job, left_now FROM (
    SELECT job, finished.result -> 'left' ->> 0 AS left_now,
        row_number() OVER newest AS position,
        count(*) FILTER (WHERE finished.result -> 'left' ->> 0 IS NOT NULL) OVER (newest ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING) AS times
    FROM ops.maintenance AS finished
    WHERE finished_at IS NOT NULL AND result ? 'left' AND started_at > clock_timestamp() - interval '30 days'
    WINDOW newest AS (PARTITION BY job ORDER BY maintenance_id DESC)
) AS ranked
WHERE position = 1 AND times = 2
