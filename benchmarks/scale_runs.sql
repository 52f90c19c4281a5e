-- Copies of a symbol's newest runs of each job, with their events, under another symbol's name.
CREATE TEMP TABLE copied ON COMMIT DROP AS
    SELECT DISTINCT ON (pipeline_name) run_id AS old, gen_random_uuid()::text AS new
    FROM runs WHERE partition = %(old)s AND status = 'SUCCESS' AND pipeline_name IN ('ingest_prices', 'build')
    ORDER BY pipeline_name, id DESC;
INSERT INTO runs (run_id, snapshot_id, pipeline_name, mode, status, run_body, partition, partition_set, create_timestamp,
    update_timestamp, start_time, end_time)
SELECT new, snapshot_id, pipeline_name, mode, status,
    replace(replace(run_body, old, new), '"' || %(old)s || '"', '"' || %(new)s || '"'), %(new)s, partition_set, create_timestamp,
    update_timestamp, start_time, end_time
FROM runs JOIN copied ON old = run_id;
INSERT INTO run_tags (run_id, key, value)
SELECT new, key, CASE WHEN value = %(old)s THEN %(new)s ELSE value END FROM run_tags JOIN copied ON old = run_id;
CREATE TEMP TABLE event ON COMMIT DROP AS
    SELECT id AS old_id, nextval('event_logs_id_seq') AS id, run_id AS old_run, new
    FROM (SELECT id, run_id, new FROM event_logs JOIN copied ON old = run_id ORDER BY id) AS ordered;
INSERT INTO event_logs (id, run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)
SELECT event.id, new, replace(replace(logs.event, old_run, new), '"' || %(old)s || '"', '"' || %(new)s || '"'),
    dagster_event_type, timestamp, step_key, asset_key, CASE WHEN partition = %(old)s THEN %(new)s ELSE partition END
FROM event JOIN event_logs AS logs ON logs.id = old_id;
INSERT INTO asset_event_tags (event_id, asset_key, key, value, event_timestamp)
SELECT event.id, asset_key, key, CASE WHEN value = %(old)s THEN %(new)s ELSE value END, event_timestamp
FROM asset_event_tags JOIN event ON old_id = event_id;
INSERT INTO asset_check_executions (asset_key, check_name, partition, run_id, execution_status, evaluation_event,
    evaluation_event_timestamp, evaluation_event_storage_id, materialization_event_storage_id, create_timestamp)
SELECT asset_key, check_name, %(new)s, copied.new, execution_status,
    replace(replace(evaluation_event, old, copied.new), '"' || %(old)s || '"', '"' || %(new)s || '"'), evaluation_event_timestamp,
    evaluated.id, materialized.id, create_timestamp
FROM asset_check_executions JOIN copied ON old = run_id
LEFT JOIN event AS evaluated ON evaluated.old_id = evaluation_event_storage_id
LEFT JOIN event AS materialized ON materialized.old_id = materialization_event_storage_id;
INSERT INTO dynamic_partitions (partitions_def_name, partition) VALUES ('symbol', %(new)s) ON CONFLICT DO NOTHING;
