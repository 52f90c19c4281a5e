SELECT pg_total_relation_size(to_regclass('analytics.lookup_' || %s::text))
