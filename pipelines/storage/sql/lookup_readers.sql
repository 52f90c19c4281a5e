SELECT virtualtransaction FROM pg_locks
WHERE relation = 'analytics.lookup'::regclass AND mode = 'AccessShareLock' AND pid <> pg_backend_pid()
