SELECT max(planned_for) FROM ops.maintenance WHERE job = %s AND finished_at IS NOT NULL
