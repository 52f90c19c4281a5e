-- Where pg_stat_statements is: it counts if the server loaded it as it started, and shows if this database has its view, in whatever schema.
SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements') AS available,
    'pg_stat_statements' = ANY (regexp_split_to_array(current_setting('shared_preload_libraries', true), '\s*,\s*')) AS loaded,
    (SELECT nspname FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = 'pg_stat_statements') AS schema
