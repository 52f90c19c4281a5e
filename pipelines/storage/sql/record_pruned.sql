UPDATE analytics.model_version SET pruned_at = clock_timestamp() WHERE generation = %s
