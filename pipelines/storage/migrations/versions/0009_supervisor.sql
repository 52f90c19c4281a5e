-- One row at most: the `strikecast up` that runs this database's system. It is alive while its heartbeat is recent.
CREATE TABLE ops.supervisor (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    token text NOT NULL,
    host text NOT NULL,
    home text NOT NULL,
    ui_url text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE ops.supervisor IS 'The running `strikecast up`, of which a database has one at most.';
COMMENT ON COLUMN ops.supervisor.only_row IS 'Always true: there is one row at most.';
COMMENT ON COLUMN ops.supervisor.token IS 'Random text that identifies the process; also in up.json of its home folder.';
COMMENT ON COLUMN ops.supervisor.host IS 'Name of its machine.';
COMMENT ON COLUMN ops.supervisor.home IS 'Its home folder.';
COMMENT ON COLUMN ops.supervisor.ui_url IS 'Address of its Dagster UI.';
COMMENT ON COLUMN ops.supervisor.started_at IS 'Start, UTC.';
COMMENT ON COLUMN ops.supervisor.heartbeat_at IS 'Last heartbeat, UTC by the server''s clock; sent every few seconds.';
GRANT SELECT, INSERT, UPDATE, DELETE ON ops.supervisor TO strikecast_pipeline;
GRANT SELECT ON ops.supervisor TO strikecast_reader;
