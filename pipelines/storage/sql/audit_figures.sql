SELECT name, unit, statistic, samples, labels, note FROM ops.audit_figure WHERE audit_id = %s ORDER BY key
