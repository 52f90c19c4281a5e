-- What is in both, between a write of the archive and the removal, or after it was ingested again, counts once.
CREATE VIEW price AS
SELECT *, false AS archived FROM stored_price
UNION ALL
SELECT *, true AS archived FROM archived_price ANTI JOIN stored_price USING (symbol, opened_at)
