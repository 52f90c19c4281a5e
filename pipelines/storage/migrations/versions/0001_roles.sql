-- Roles without login: an operator grants them to logins; the program switches to the one a task needs.
-- Roles belong to the whole server, so another database of this server may have made them already.
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['owner', 'pipeline', 'live', 'reader', 'backup'] LOOP
        role_name := 'strikecast_' || role_name;
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
        IF NOT pg_has_role(current_user, role_name, 'MEMBER') THEN
            EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
        END IF;
    END LOOP;
    IF NOT pg_has_role('strikecast_backup', 'pg_read_all_data', 'MEMBER') THEN
        GRANT pg_read_all_data TO strikecast_backup;
    END IF;
END
$$;

DO $$
BEGIN
    EXECUTE format('GRANT CREATE, TEMPORARY ON DATABASE %I TO strikecast_owner', current_database());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO strikecast_pipeline', current_database());
END
$$;

CREATE SCHEMA historical_data AUTHORIZATION strikecast_owner;
CREATE SCHEMA analytics AUTHORIZATION strikecast_owner;
CREATE SCHEMA live_data AUTHORIZATION strikecast_owner;
CREATE SCHEMA ops AUTHORIZATION strikecast_owner;

COMMENT ON SCHEMA historical_data IS 'One-minute bars as delivered, their momentum, their gaps, and rows that were refused.';
COMMENT ON SCHEMA analytics IS 'Fingerprints and lookups by generation; views in the original''s shape; strike_probability().';
COMMENT ON SCHEMA live_data IS 'Ticks as they arrive, and the sessions that turn them into probability files.';
COMMENT ON SCHEMA ops IS 'What the system did: ingestions and, later, maintenance and audits.';

GRANT USAGE ON SCHEMA historical_data, analytics, live_data, ops
    TO strikecast_pipeline, strikecast_live, strikecast_reader, strikecast_backup;
