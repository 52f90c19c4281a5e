SELECT title, figure, statistic, labels, unit, bound, upper, severity, area, state, value, key
FROM ops.audit_judgement WHERE audit_id = %s ORDER BY judgement_id
