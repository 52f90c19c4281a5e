SELECT nspname || '.' || relname,
    format(
        'SELECT count(*), coalesce(sum(hash_record_extended(t, 0)), 0)::text FROM ONLY %%I.%%I AS t',
        nspname, relname
    )
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relkind = 'r' AND relpersistence = 'p' AND nspname <> 'information_schema' AND nspname !~ '^pg_'
ORDER BY nspname, relname
