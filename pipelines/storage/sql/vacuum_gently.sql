SELECT set_config('vacuum_cost_delay', '2', false), set_config('maintenance_work_mem', '64MB', false),
    set_config('max_parallel_maintenance_workers', '0', false)
