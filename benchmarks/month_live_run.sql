-- A run of the live job as a copy of a real one that was set aside, over within its hour.
INSERT INTO runs (run_id, snapshot_id, pipeline_name, mode, status, run_body, create_timestamp, update_timestamp, start_time, end_time)
SELECT %(new)s, snapshot_id, pipeline_name, mode, 'SUCCESS', replace(run_body, %(old)s, %(new)s), %(at)s AT TIME ZONE 'UTC',
    %(at)s AT TIME ZONE 'UTC', extract(epoch FROM %(at)s), extract(epoch FROM %(at)s) + 3600
FROM month_run;

INSERT INTO run_tags (run_id, key, value) SELECT %(new)s, key, value FROM month_tag;

INSERT INTO event_logs (run_id, event, dagster_event_type, timestamp, step_key)
SELECT %(new)s, replace(event, %(old)s, %(new)s), dagster_event_type, %(at)s AT TIME ZONE 'UTC', step_key
FROM month_event ORDER BY id;
