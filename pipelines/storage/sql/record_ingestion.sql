INSERT INTO ops.ingestion (
    symbol, files, rows_read, inserted, corrected, unchanged, quarantined, started_at, first_changed_at
) VALUES (
    %(symbol)s, %(files)s, %(rows_read)s, %(inserted)s, %(corrected)s, %(unchanged)s, %(quarantined)s, %(started_at)s,
    %(first_changed_at)s
)
