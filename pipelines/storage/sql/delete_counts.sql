DELETE FROM analytics.standardised_count WHERE symbol = %s AND (week >= %s OR parameters_id <> %s)
