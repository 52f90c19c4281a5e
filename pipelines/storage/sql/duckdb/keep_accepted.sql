INSERT INTO bar SELECT minute, open, high, low, close, volume, $1, source_row FROM parsed WHERE reason IS NULL
