-- DuckDB leaves malformed lines out, so the rows behind one are counted too low.
UPDATE parsed SET source_row = source_row + (SELECT count(*) FROM malformed WHERE row - ordinal < parsed.source_row)
WHERE EXISTS (SELECT 1 FROM malformed)
