DELETE FROM analytics.fingerprint WHERE generation = %s
