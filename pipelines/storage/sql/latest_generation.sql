SELECT max(generation) FROM analytics.model_version
WHERE symbol = %s AND model = %s AND origin = 'built' AND fingerprint_rows IS NOT NULL AND state <> 'rejected' AND pruned_at IS NULL
