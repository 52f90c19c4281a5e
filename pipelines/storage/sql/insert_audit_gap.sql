INSERT INTO ops.audit_gap (audit_id, name, why) VALUES (%(audit_id)s, %(name)s, %(why)s) ON CONFLICT DO NOTHING
