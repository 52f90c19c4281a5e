UPDATE analytics.model_version SET lookup_rows = %(rows)s, lookup_sha256 = %(sha256)s WHERE generation = %(generation)s
