INSERT INTO ops.audit_judgement
    (audit_id, title, figure, statistic, labels, unit, bound, upper, severity, area, state, value, key)
VALUES (
    %(audit_id)s, %(title)s, %(figure)s, %(statistic)s, %(labels)s, %(unit)s, %(bound)s, %(upper)s, %(severity)s, %(area)s,
    %(state)s, %(value)s, %(key)s
)
