ALTER TABLE ops.audit_judgement ADD COLUMN labels jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN ops.audit_judgement.labels IS 'Which of the figures of that name; empty: any, the one furthest off.';

-- What an audit writes to is shaped as the ticks are, with their key, but wakes nobody.
CREATE TABLE ops.audit_scratch (LIKE live_data.price_log INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES INCLUDING COMMENTS);
COMMENT ON TABLE ops.audit_scratch IS 'Rows that an audit inserts, changes and deletes to see how long that takes; empty between audits.';
GRANT SELECT, INSERT, UPDATE, DELETE ON ops.audit_scratch TO strikecast_auditor;
GRANT SELECT ON ops.audit_scratch TO strikecast_reader;

CREATE INDEX audit_figure_by_name ON ops.audit_figure (name, audit_id);
