WITH victim AS (
    SELECT ctid FROM historical_data.quarantined_bar WHERE quarantined_at < %(before)s LIMIT %(batch)s FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM historical_data.quarantined_bar AS bar USING victim WHERE bar.ctid = victim.ctid RETURNING 1
)
SELECT count(*) AS quarantined_bar FROM gone
