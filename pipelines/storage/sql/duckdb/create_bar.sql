CREATE TABLE bar (
    minute BIGINT, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE, file_index INTEGER, source_row BIGINT
)
