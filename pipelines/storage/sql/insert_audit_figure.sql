INSERT INTO ops.audit_figure (audit_id, key, name, labels, unit, statistic, value, samples, note)
VALUES (%(audit_id)s, %(key)s, %(name)s, %(labels)s, %(unit)s, %(statistic)s, %(value)s, %(samples)s, %(note)s)
