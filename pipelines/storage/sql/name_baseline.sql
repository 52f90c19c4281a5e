INSERT INTO ops.audit_baseline (name, audit_id) VALUES (%s, %s)
ON CONFLICT (name) DO UPDATE SET audit_id = excluded.audit_id, named_at = now()
