SELECT prob_within_positive_hundredths, prob_within_negative_hundredths, n_eff
FROM analytics.lookup WHERE generation = %s AND bucket = %s
ORDER BY ttc_seconds
