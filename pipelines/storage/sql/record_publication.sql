UPDATE analytics.model_version SET published_at = clock_timestamp() WHERE generation = %s AND published_at IS NULL
