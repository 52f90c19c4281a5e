ALTER TABLE live_data.session
    ADD COLUMN hands_over_at timestamptz,
    ADD COLUMN resumed_from bigint REFERENCES live_data.session,
    ADD COLUMN feed text,
    ADD COLUMN ended_because text;
COMMENT ON COLUMN live_data.session.hands_over_at IS 'When its market closes, UTC: from then on it ends as soon as a successor waits.';
COMMENT ON COLUMN live_data.session.resumed_from IS 'Session whose counters it went on from; NULL when there was none.';
COMMENT ON COLUMN live_data.session.feed IS 'Where its prices came from: replay, external, or an exchange.';
COMMENT ON COLUMN live_data.session.ended_because IS 'Why it ended, in plain words; NULL while it runs.';
