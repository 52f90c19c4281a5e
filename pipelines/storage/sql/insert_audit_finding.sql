INSERT INTO ops.audit_finding (audit_id, key, severity, area, title, evidence, cause, remedy, effort, command)
VALUES (%(audit_id)s, %(key)s, %(severity)s, %(area)s, %(title)s, %(evidence)s, %(cause)s, %(remedy)s, %(effort)s, %(command)s)
