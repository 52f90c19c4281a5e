-- Values of figures in the audits before a time, oldest first.
SELECT key, started_at, value FROM ops.audit_figure JOIN ops.audit USING (audit_id)
WHERE started_at >= %s AND started_at < %s AND name = ANY (%s) ORDER BY key, started_at
