SELECT max(audit_id) FROM ops.audit
