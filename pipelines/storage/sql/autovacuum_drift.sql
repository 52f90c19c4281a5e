SELECT table_name, options, declared FROM ops.autovacuum_drift ORDER BY table_name
