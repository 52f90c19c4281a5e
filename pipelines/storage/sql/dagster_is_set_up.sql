SELECT to_regclass('public.event_logs')
