SELECT set_config('synchronous_commit', 'off', false), set_config('client_connection_check_interval', '1s', false)
