SELECT num_timed::float8 AS timed, num_requested::float8 AS requested FROM pg_stat_checkpointer
