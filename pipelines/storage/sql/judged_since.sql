-- What became of each target in the audits since a time, the newest first.
SELECT audit_id, started_at, title, figure, statistic, labels, unit, bound, upper, severity, area, state, value, key
FROM ops.audit_judgement JOIN ops.audit USING (audit_id)
WHERE started_at >= %s
ORDER BY started_at DESC, audit_id DESC, judgement_id
