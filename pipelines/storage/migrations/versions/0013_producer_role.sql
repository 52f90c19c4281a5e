-- External programs that deliver prices need nothing else. Whoever may write sessions can also end one.
DO $$
BEGIN
    BEGIN
        CREATE ROLE strikecast_producer NOLOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;
    END;
    IF NOT pg_has_role(current_user, 'strikecast_producer', 'MEMBER') THEN
        GRANT strikecast_producer TO CURRENT_USER;
    END IF;
END
$$;
