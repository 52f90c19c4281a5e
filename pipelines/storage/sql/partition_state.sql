SELECT inhparent IS NOT NULL, coalesce(inhdetachpending, false)
FROM pg_class LEFT JOIN pg_inherits ON inhrelid = pg_class.oid
WHERE pg_class.oid = to_regclass(%s)
