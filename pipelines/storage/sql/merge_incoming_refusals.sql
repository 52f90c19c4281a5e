INSERT INTO historical_data.quarantined_bar (symbol, file_sha256, source_row, reason, source_file, raw)
SELECT %s, file_sha256, source_row, reason, source_file, raw FROM incoming_refusal
ON CONFLICT (symbol, file_sha256, source_row) DO NOTHING
