SELECT audit_id FROM ops.audit_baseline WHERE name = %s
