SELECT analytics.create_fingerprint_views(%s)
