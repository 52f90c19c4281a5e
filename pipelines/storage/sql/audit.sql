SELECT audit_id, kind, started_at, finished_at, code_version, server_version, machine, cpu_seconds
FROM ops.audit WHERE audit_id = %s
