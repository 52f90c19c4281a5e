UPDATE analytics.model_version SET state = %(state)s, completed_at = clock_timestamp()
WHERE generation = %(generation)s AND state = 'building'
