WITH victim AS (
    SELECT id FROM job_ticks WHERE timestamp < %(before)s AND status <> 'STARTED' ORDER BY id LIMIT %(batch)s FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM job_ticks USING victim WHERE job_ticks.id = victim.id RETURNING 1
)
SELECT count(*) AS job_ticks FROM gone
