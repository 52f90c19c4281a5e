SELECT pg_size_bytes(current_setting('shared_buffers'))::float8 AS shared_buffers_bytes,
    pg_size_bytes(current_setting('effective_cache_size'))::float8 AS effective_cache_size_bytes,
    pg_size_bytes(current_setting('work_mem'))::float8 AS work_mem_bytes,
    current_setting('max_connections')::int AS max_connections,
    current_setting('fsync')::bool AS fsync,
    current_setting('full_page_writes')::bool AS full_page_writes,
    current_setting('autovacuum')::bool AS autovacuum,
    current_setting('track_counts')::bool AS track_counts
