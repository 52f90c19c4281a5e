SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false)
