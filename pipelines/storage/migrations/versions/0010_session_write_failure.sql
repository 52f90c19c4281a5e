ALTER TABLE live_data.session ADD COLUMN write_failure text;
COMMENT ON COLUMN live_data.session.write_failure IS 'Why its newest heartbeat could not follow a written file: the folder and the error; NULL while it writes.';
