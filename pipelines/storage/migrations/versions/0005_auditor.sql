-- An auditor reads what a reader reads, and sees what everybody is doing. Where the login may not give the latter away, an audit says that
-- it is missing. Roles belong to the whole server, so another database of this server may have made it already.
DO $$
BEGIN
    BEGIN
        CREATE ROLE strikecast_auditor NOLOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;
    END;
    IF NOT pg_has_role(current_user, 'strikecast_auditor', 'MEMBER') THEN
        GRANT strikecast_auditor TO CURRENT_USER;
    END IF;
    IF NOT pg_has_role('strikecast_auditor', 'strikecast_reader', 'MEMBER') THEN
        GRANT strikecast_reader TO strikecast_auditor;
    END IF;
    IF NOT pg_has_role('strikecast_auditor', 'pg_monitor', 'MEMBER') THEN
        BEGIN
            GRANT pg_monitor TO strikecast_auditor;
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE NOTICE 'strikecast_auditor does not become a member of pg_monitor: %', SQLERRM;
        END;
    END IF;
END
$$;
