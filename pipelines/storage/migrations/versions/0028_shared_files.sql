CREATE TABLE ops.file (
    name text PRIMARY KEY CHECK (name ~ '^(archive|reports)(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+$'),
    kept_in text NOT NULL CHECK (kept_in IN ('shared', 'database', 'host')),
    host text NOT NULL,
    size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
    sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    content bytea CHECK (octet_length(content) <= 1048576),
    dagster_run_id text,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((kept_in = 'database') = (content IS NOT NULL))
);
COMMENT ON TABLE ops.file IS 'One row per file that other machines may read: reports and charts, each the newest, and the files of the archive.';
COMMENT ON COLUMN ops.file.name IS 'Path in the home folder, and in the shared place; there the name of a file of the archive ends with its checksum.';
COMMENT ON COLUMN ops.file.kept_in IS 'shared: in the place of shared_files.url; database: in this row; host: only in the home folder of that host.';
COMMENT ON COLUMN ops.file.host IS 'Host that wrote it, as it names itself.';
COMMENT ON COLUMN ops.file.size_bytes IS 'Size.';
COMMENT ON COLUMN ops.file.sha256 IS 'SHA-256 of the content, as hexadecimal digits.';
COMMENT ON COLUMN ops.file.content IS 'The content of a file of at most 1 MiB that is in no shared place; NULL for all others, and for the archive.';
COMMENT ON COLUMN ops.file.dagster_run_id IS 'The Dagster run that wrote it; NULL from the command line.';
COMMENT ON COLUMN ops.file.written_at IS 'When, UTC.';

GRANT SELECT, INSERT, UPDATE, DELETE ON ops.file TO strikecast_pipeline;
GRANT SELECT ON ops.file TO strikecast_reader;
