INSERT INTO refused SELECT $1, source_row, reason, raw FROM parsed WHERE reason IS NOT NULL
