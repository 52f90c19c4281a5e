CREATE TABLE recovery_mark (label text PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp())
