-- A count of each table in the oldest audit since a time that knew the table.
SELECT DISTINCT ON (labels ->> 'table') labels ->> 'table' AS table, started_at, value
FROM ops.audit_figure JOIN ops.audit USING (audit_id)
WHERE name = %(name)s AND started_at >= %(since)s
ORDER BY labels ->> 'table', started_at
