-- A real run of the live job, kept for copies: retention will find it old. Without asset events, of which the newest would count.
CREATE TABLE month_run AS SELECT * FROM runs WHERE run_id = %(old)s;
CREATE TABLE month_tag AS SELECT * FROM run_tags WHERE run_id = %(old)s;
CREATE TABLE month_event AS SELECT * FROM event_logs WHERE run_id = %(old)s AND asset_key IS NULL ORDER BY id LIMIT 25;
