SELECT ttc_seconds, prob_within_positive_hundredths, prob_within_negative_hundredths, n_eff, evidence_positive,
    evidence_negative
FROM analytics.lookup
WHERE generation = %s::integer AND bucket = %s::smallint AND ttc_seconds BETWEEN %s::smallint AND %s::smallint
