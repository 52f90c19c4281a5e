CREATE TABLE ops.maintenance (
    maintenance_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job text NOT NULL,
    dagster_run_id text,
    planned_for timestamptz NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    plan jsonb NOT NULL,
    result jsonb
);
COMMENT ON TABLE ops.maintenance IS 'One row per run of retention, vacuum, archive or log rotation: what was planned and why, and what came of it.';
COMMENT ON COLUMN ops.maintenance.maintenance_id IS 'Running number.';
COMMENT ON COLUMN ops.maintenance.job IS 'retention, vacuum, archive or logs.';
COMMENT ON COLUMN ops.maintenance.dagster_run_id IS 'The Dagster run; NULL for one from the command line.';
COMMENT ON COLUMN ops.maintenance.planned_for IS 'The time that its plan took for now, UTC.';
COMMENT ON COLUMN ops.maintenance.started_at IS 'Start, UTC.';
COMMENT ON COLUMN ops.maintenance.finished_at IS 'End, UTC; NULL while it runs, and for ever when it was killed or failed.';
COMMENT ON COLUMN ops.maintenance.plan IS 'What was to be done, and why.';
COMMENT ON COLUMN ops.maintenance.result IS 'What was done: counts, sizes before and after.';

ALTER TABLE live_data.session DROP CONSTRAINT session_resumed_from_fkey,
    ADD CONSTRAINT session_resumed_from_fkey FOREIGN KEY (resumed_from) REFERENCES live_data.session ON DELETE SET NULL;
-- A foreign key looks for those who point at a row that goes.
CREATE INDEX session_by_predecessor ON live_data.session (resumed_from);

ALTER TABLE analytics.model_version ADD COLUMN pruned_at timestamptz;
COMMENT ON COLUMN analytics.model_version.pruned_at IS 'When retention removed its fingerprints and lookup, UTC; NULL while they are there.';

GRANT SELECT, INSERT, UPDATE ON ops.maintenance TO strikecast_pipeline;
GRANT SELECT ON ops.maintenance TO strikecast_reader;
