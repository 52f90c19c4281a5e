-- Who may not see others' sessions sees their pid and horizon all the same.
SELECT format('process %s (%s), in a transaction since %s', pid, coalesce(nullif(application_name, ''), 'of somebody else'),
    coalesce(to_char(xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), age(backend_xmin) || ' transactions'))
FROM pg_stat_activity
WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
    AND coalesce(xact_start < clock_timestamp() - interval '1 minute', age(backend_xmin) > 1000)
UNION ALL
SELECT format('replication slot %s', slot_name) FROM pg_replication_slots WHERE coalesce(xmin, catalog_xmin) IS NOT NULL
UNION ALL
SELECT format('prepared transaction %s', gid) FROM pg_prepared_xacts
