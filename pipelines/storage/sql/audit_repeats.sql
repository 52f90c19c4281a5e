-- As `audit_history`, of all figures of the newest audits of a kind before one of them.
SELECT key, value FROM ops.audit_figure
JOIN (
    SELECT audit_id FROM ops.audit WHERE kind = %s AND audit_id < %s ORDER BY audit_id DESC LIMIT %s
) AS newest USING (audit_id)
ORDER BY key, audit_id
