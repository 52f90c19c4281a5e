SELECT key, severity, area, title, evidence, cause, remedy, effort, command
FROM ops.audit_finding WHERE audit_id = %s ORDER BY severity, key
