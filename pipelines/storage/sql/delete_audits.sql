-- Audits with all that belongs to them, one or two hundred rows each, so that few of them are a batch; one with a name stays.
WITH victim AS (
    SELECT audit_id FROM ops.audit
    WHERE started_at < CASE kind WHEN 'full' THEN %(full_before)s::timestamptz ELSE %(quick_before)s::timestamptz END
        AND NOT EXISTS (SELECT FROM ops.audit_baseline WHERE audit_baseline.audit_id = audit.audit_id)
    ORDER BY audit_id LIMIT greatest(1, %(batch)s / 200) FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM ops.audit USING victim WHERE audit.audit_id = victim.audit_id RETURNING 1
)
SELECT count(*) AS audit FROM gone
