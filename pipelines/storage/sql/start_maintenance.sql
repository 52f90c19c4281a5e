INSERT INTO ops.maintenance (job, dagster_run_id, planned_for, plan) VALUES (%(job)s, %(run_id)s, %(now)s, %(plan)s)
RETURNING maintenance_id
