CREATE TABLE ops.audit (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('quick', 'full')),
    dagster_run_id text,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    code_version text NOT NULL,
    server_version text NOT NULL,
    machine jsonb NOT NULL,
    cpu_seconds double precision NOT NULL,
    points double precision,
    grade text NOT NULL
);
COMMENT ON TABLE ops.audit IS 'One row per audit of the system by itself.';
COMMENT ON COLUMN ops.audit.audit_id IS 'Running number.';
COMMENT ON COLUMN ops.audit.kind IS 'quick (hourly) or full (nightly).';
COMMENT ON COLUMN ops.audit.dagster_run_id IS 'The Dagster run; NULL for one from the command line.';
COMMENT ON COLUMN ops.audit.started_at IS 'Start, UTC.';
COMMENT ON COLUMN ops.audit.finished_at IS 'End, UTC.';
COMMENT ON COLUMN ops.audit.code_version IS 'Version of strikecast.';
COMMENT ON COLUMN ops.audit.server_version IS 'Version of the server.';
COMMENT ON COLUMN ops.audit.machine IS 'Processor, cores, memory, operating system.';
COMMENT ON COLUMN ops.audit.cpu_seconds IS 'Processor time that the audit itself took, without the server''s.';
COMMENT ON COLUMN ops.audit.points IS 'Of 100, from its findings; NULL when nothing could be measured.';
COMMENT ON COLUMN ops.audit.grade IS 'A to E, from the points; - without any.';

CREATE TABLE ops.audit_figure (
    audit_id bigint NOT NULL REFERENCES ops.audit ON DELETE CASCADE,
    key text NOT NULL,
    name text NOT NULL,
    labels jsonb NOT NULL,
    unit text NOT NULL,
    statistic text NOT NULL,
    value double precision NOT NULL,
    samples double precision[] NOT NULL CHECK (cardinality(samples) > 0),
    note text NOT NULL,
    PRIMARY KEY (audit_id, key)
);
COMMENT ON TABLE ops.audit_figure IS 'What an audit measured, each figure with the samples that it follows from.';
COMMENT ON COLUMN ops.audit_figure.audit_id IS 'The audit.';
COMMENT ON COLUMN ops.audit_figure.key IS 'Name, statistic and labels: the same in every audit.';
COMMENT ON COLUMN ops.audit_figure.name IS 'What was measured.';
COMMENT ON COLUMN ops.audit_figure.labels IS 'Of which table, process, symbol, ...';
COMMENT ON COLUMN ops.audit_figure.unit IS 'What it counts; empty for a number of things.';
COMMENT ON COLUMN ops.audit_figure.statistic IS 'How the value follows from the samples: last, sum, mean, p50, p95, p99, max.';
COMMENT ON COLUMN ops.audit_figure.value IS 'The figure.';
COMMENT ON COLUMN ops.audit_figure.samples IS 'What it follows from.';
COMMENT ON COLUMN ops.audit_figure.note IS 'What is told with it, such as the shape of a plan.';

CREATE TABLE ops.audit_gap (
    audit_id bigint NOT NULL REFERENCES ops.audit ON DELETE CASCADE,
    name text NOT NULL,
    why text NOT NULL,
    PRIMARY KEY (audit_id, name, why)
);
COMMENT ON TABLE ops.audit_gap IS 'What an audit could not measure, and why.';
COMMENT ON COLUMN ops.audit_gap.audit_id IS 'The audit.';
COMMENT ON COLUMN ops.audit_gap.name IS 'What is missing.';
COMMENT ON COLUMN ops.audit_gap.why IS 'Why.';

CREATE TABLE ops.audit_finding (
    audit_id bigint NOT NULL REFERENCES ops.audit ON DELETE CASCADE,
    key text NOT NULL,
    severity text NOT NULL CHECK (severity IN ('P0', 'P1', 'P2', 'P3')),
    area text NOT NULL,
    title text NOT NULL,
    evidence text NOT NULL,
    cause text NOT NULL,
    remedy text NOT NULL,
    effort text NOT NULL,
    command text NOT NULL,
    PRIMARY KEY (audit_id, key)
);
COMMENT ON TABLE ops.audit_finding IS 'What somebody should look at, by urgency: P0 now, P1 today, P2 this week, P3 when there is time.';
COMMENT ON COLUMN ops.audit_finding.audit_id IS 'The audit.';
COMMENT ON COLUMN ops.audit_finding.key IS 'The same in every audit that finds it.';
COMMENT ON COLUMN ops.audit_finding.severity IS 'P0 to P3.';
COMMENT ON COLUMN ops.audit_finding.area IS 'answers, database, maintenance or resources.';
COMMENT ON COLUMN ops.audit_finding.title IS 'What is wrong.';
COMMENT ON COLUMN ops.audit_finding.evidence IS 'The figures that say so.';
COMMENT ON COLUMN ops.audit_finding.cause IS 'What is likely behind it.';
COMMENT ON COLUMN ops.audit_finding.remedy IS 'What to do.';
COMMENT ON COLUMN ops.audit_finding.effort IS 'How long that takes.';
COMMENT ON COLUMN ops.audit_finding.command IS 'A command to try; empty without one.';

CREATE TABLE ops.audit_judgement (
    audit_id bigint NOT NULL REFERENCES ops.audit ON DELETE CASCADE,
    judgement_id bigint GENERATED ALWAYS AS IDENTITY,
    title text NOT NULL,
    figure text NOT NULL,
    statistic text NOT NULL,
    unit text NOT NULL,
    bound double precision NOT NULL,
    upper boolean NOT NULL,
    severity text NOT NULL,
    area text NOT NULL,
    state text NOT NULL CHECK (state IN ('met', 'missed', 'not measured')),
    value double precision,
    key text,
    PRIMARY KEY (audit_id, title)
);
COMMENT ON TABLE ops.audit_judgement IS 'Targets of service, and what became of each in an audit.';
COMMENT ON COLUMN ops.audit_judgement.audit_id IS 'The audit.';
COMMENT ON COLUMN ops.audit_judgement.judgement_id IS 'Running number, in the order of the targets'' file.';
COMMENT ON COLUMN ops.audit_judgement.title IS 'The target.';
COMMENT ON COLUMN ops.audit_judgement.figure IS 'Name of the figures that it judges.';
COMMENT ON COLUMN ops.audit_judgement.statistic IS 'Their statistic.';
COMMENT ON COLUMN ops.audit_judgement.unit IS 'Unit of the bound and of the value.';
COMMENT ON COLUMN ops.audit_judgement.bound IS 'The bound, as it was declared then.';
COMMENT ON COLUMN ops.audit_judgement.upper IS 'Whether the value must be below the bound, rather than at least that.';
COMMENT ON COLUMN ops.audit_judgement.severity IS 'What missing it means: P0 to P3.';
COMMENT ON COLUMN ops.audit_judgement.area IS 'answers, database, maintenance or resources.';
COMMENT ON COLUMN ops.audit_judgement.state IS 'met, missed or not measured.';
COMMENT ON COLUMN ops.audit_judgement.value IS 'The figure that decided; NULL when it was not measured.';
COMMENT ON COLUMN ops.audit_judgement.key IS 'Its key in audit_figure.';

CREATE TABLE ops.audit_baseline (
    name text PRIMARY KEY,
    audit_id bigint NOT NULL REFERENCES ops.audit,
    named_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE ops.audit_baseline IS 'Audits that have a name, for later ones to be compared with; retention keeps them.';
COMMENT ON COLUMN ops.audit_baseline.name IS 'The name.';
COMMENT ON COLUMN ops.audit_baseline.audit_id IS 'The audit.';
COMMENT ON COLUMN ops.audit_baseline.named_at IS 'When it was named, UTC.';

GRANT SELECT, INSERT, DELETE ON ops.audit, ops.audit_figure, ops.audit_gap, ops.audit_finding, ops.audit_judgement TO strikecast_pipeline;
GRANT SELECT, INSERT, UPDATE, DELETE ON ops.audit_baseline TO strikecast_pipeline;
GRANT SELECT ON ops.audit, ops.audit_figure, ops.audit_gap, ops.audit_finding, ops.audit_judgement, ops.audit_baseline TO strikecast_reader;
