SELECT analytics.create_lookup_table(%s)
