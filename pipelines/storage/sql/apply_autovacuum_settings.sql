SELECT ops.apply_autovacuum_settings()
