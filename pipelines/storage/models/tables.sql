-- name: fingerprints
SELECT bucket, ttc_minutes, positive, negative, n, n_eff, evidence_positive, evidence_negative
FROM analytics.fingerprint WHERE generation = %s
ORDER BY bucket NULLS FIRST, ttc_minutes

-- name: baseline_fingerprint
SELECT bucket, ttc_minutes, positive, negative, n, n_eff, evidence_positive, evidence_negative
FROM analytics.fingerprint WHERE generation = %s AND bucket IS NULL
ORDER BY ttc_minutes

-- name: copy_fingerprints_in
COPY analytics.fingerprint (
    generation, bucket, ttc_minutes, positive, negative, n, n_eff, evidence_positive, evidence_negative
) FROM STDIN (FORMAT binary)

-- name: record_fingerprints
UPDATE analytics.model_version SET fingerprint_rows = %(rows)s WHERE generation = %(generation)s

-- name: create_lookup_table
SELECT analytics.create_lookup_table(%s)

-- name: copy_lookup_in
COPY {table} (
    generation, ttc_seconds, bucket, n_eff, prob_within_positive_hundredths, prob_within_negative_hundredths, evidence_positive,
    evidence_negative
) FROM STDIN (FORMAT binary, FREEZE)

-- name: attach_lookup_table
SELECT analytics.attach_lookup_table(%s)

-- name: record_lookup
UPDATE analytics.model_version SET lookup_rows = %(rows)s, lookup_sha256 = %(sha256)s WHERE generation = %(generation)s

-- name: lookup_rows
SELECT ttc_seconds, prob_within_positive_hundredths, prob_within_negative_hundredths, n_eff, evidence_positive,
    evidence_negative
FROM analytics.lookup
WHERE generation = %s::integer AND bucket = %s::smallint AND ttc_seconds BETWEEN %s::smallint AND %s::smallint

-- name: lookup_bucket
SELECT prob_within_positive_hundredths, prob_within_negative_hundredths, n_eff
FROM analytics.lookup WHERE generation = %s AND bucket = %s
ORDER BY ttc_seconds

-- name: lookup_size
SELECT pg_total_relation_size(to_regclass('analytics.lookup_' || %s::text))
