INSERT INTO ops.audit (kind, dagster_run_id, started_at, finished_at, code_version, server_version, machine, cpu_seconds, points, grade)
VALUES (%(kind)s, %(run_id)s, %(started_at)s, %(finished_at)s, %(code_version)s, %(server_version)s, %(machine)s, %(cpu_seconds)s, %(points)s, %(grade)s)
RETURNING audit_id
