-- name: insert_audit
INSERT INTO ops.audit (kind, dagster_run_id, started_at, finished_at, code_version, server_version, machine, cpu_seconds, points, grade)
VALUES (%(kind)s, %(run_id)s, %(started_at)s, %(finished_at)s, %(code_version)s, %(server_version)s, %(machine)s, %(cpu_seconds)s, %(points)s, %(grade)s)
RETURNING audit_id

-- name: insert_audit_figure
INSERT INTO ops.audit_figure (audit_id, key, name, labels, unit, statistic, value, samples, note)
VALUES (%(audit_id)s, %(key)s, %(name)s, %(labels)s, %(unit)s, %(statistic)s, %(value)s, %(samples)s, %(note)s)
ON CONFLICT (audit_id, key) DO NOTHING

-- name: insert_audit_judgement
INSERT INTO ops.audit_judgement
    (audit_id, title, figure, statistic, labels, unit, bound, upper, severity, area, state, value, key)
VALUES (
    %(audit_id)s, %(title)s, %(name)s, %(statistic)s, %(labels)s, %(unit)s, %(bound)s, %(upper)s, %(severity)s, %(area)s,
    %(state)s, %(value)s, %(key)s
)

-- name: insert_audit_finding
INSERT INTO ops.audit_finding (audit_id, key, severity, area, title, evidence, cause, remedy, effort, command)
VALUES (%(audit_id)s, %(key)s, %(severity)s, %(area)s, %(title)s, %(evidence)s, %(cause)s, %(remedy)s, %(effort)s, %(command)s)

-- name: insert_audit_gap
INSERT INTO ops.audit_gap (audit_id, name, why) VALUES (%(audit_id)s, %(name)s, %(why)s) ON CONFLICT DO NOTHING

-- name: newest_audit
SELECT audit_id FROM ops.audit ORDER BY audit_id DESC LIMIT 1

-- name: audit
SELECT audit_id, kind, started_at, finished_at, code_version, server_version, machine, cpu_seconds
FROM ops.audit WHERE audit_id = %s

-- name: baseline_audit
SELECT audit_id FROM ops.audit_baseline WHERE name = %(name)s

-- name: name_baseline
INSERT INTO ops.audit_baseline (name, audit_id) VALUES (%s, %s)
ON CONFLICT (name) DO UPDATE SET audit_id = excluded.audit_id, named_at = now()

-- name: audit_measurements
SELECT name, unit, statistic, samples, labels, note FROM ops.audit_figure WHERE audit_id = %s ORDER BY key

-- name: audit_judgements
SELECT state, value, key, jsonb_build_object('title', title, 'name', figure, 'statistic', statistic, 'labels', labels, 'unit', unit,
    'bound', bound, 'upper', upper, 'severity', severity, 'area', area) AS target
FROM ops.audit_judgement WHERE audit_id = %s ORDER BY judgement_id

-- name: audit_findings
SELECT key, severity, area, title, evidence, cause, remedy, effort, command
FROM ops.audit_finding WHERE audit_id = %s ORDER BY severity, key

-- name: audit_gaps
SELECT name, why FROM ops.audit_gap WHERE audit_id = %s ORDER BY name, why

-- name: audit_history
SELECT key, array_agg(value ORDER BY started_at) FROM ops.audit_figure JOIN ops.audit USING (audit_id)
WHERE started_at >= %s AND started_at < %s AND name = ANY (%s) GROUP BY key

-- name: audit_earlier_values
SELECT key, array_agg(value ORDER BY audit_id) FROM ops.audit_figure
JOIN (SELECT audit_id FROM ops.audit WHERE kind = %s AND audit_id < %s ORDER BY audit_id DESC LIMIT %s) AS newest USING (audit_id)
GROUP BY key

-- name: first_readings
SELECT DISTINCT ON (key) key, started_at, value FROM ops.audit_figure JOIN ops.audit USING (audit_id)
WHERE name = ANY (%s) AND started_at >= %s ORDER BY key, started_at

-- name: judged_audits
SELECT started_at AS at, jsonb_agg(
    jsonb_build_object('state', state, 'value', value, 'key', key, 'target', jsonb_build_object('title', title, 'name', figure,
        'statistic', statistic, 'labels', labels, 'unit', unit, 'bound', bound, 'upper', upper, 'severity', severity, 'area', area))
    ORDER BY judgement_id) AS judgements
FROM ops.audit_judgement JOIN ops.audit USING (audit_id)
WHERE started_at >= %s
GROUP BY audit_id, started_at ORDER BY started_at DESC, audit_id DESC
