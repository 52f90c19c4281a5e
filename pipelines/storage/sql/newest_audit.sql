SELECT max(audit_id) FROM ops.audit WHERE kind = coalesce(%s, kind)
