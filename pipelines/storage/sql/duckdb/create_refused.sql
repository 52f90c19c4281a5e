CREATE TABLE refused (file_index INTEGER, source_row BIGINT, reason VARCHAR, raw VARCHAR)
