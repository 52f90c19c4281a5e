SELECT analytics.attach_lookup_table(%s)
