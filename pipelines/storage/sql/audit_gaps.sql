SELECT name, why FROM ops.audit_gap WHERE audit_id = %s ORDER BY name, why
