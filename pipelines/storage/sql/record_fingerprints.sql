UPDATE analytics.model_version SET fingerprint_rows = %(rows)s WHERE generation = %(generation)s
