SELECT datname FROM pg_database WHERE datname LIKE %s AND NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE pg_stat_activity.datname = pg_database.datname) ORDER BY 1
