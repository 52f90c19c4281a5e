SELECT file_index, source_row, reason, raw FROM refused ORDER BY file_index, source_row
