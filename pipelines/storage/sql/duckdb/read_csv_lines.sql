-- Line by line, split here rather than by the CSV reader: a line that does not fit is one refused row with its right
-- number, and a quote that never closes swallows nothing. No price has a delimiter inside of quotes.
CREATE OR REPLACE TEMP TABLE raw_csv AS
WITH numbered AS (
    SELECT row_number() OVER () - $header_lines AS source_row, line
    FROM read_csv(
        $path, delim = chr(31) || chr(30) || chr(31), quote = '', escape = '', header = false, auto_detect = false, compression = 'none',
        columns = {'line': 'VARCHAR'}, strict_mode = false
    )
),
split AS (
    SELECT source_row, line, string_split(line, $delimiter) AS field FROM numbered
    WHERE source_row > 0 AND trim(line, chr(13) || chr(9) || ' ') <> ''
)
SELECT source_row,
    len(field) <> $width AS malformed,
    line,
    trim(field[$opened], $padding) AS opened,
    trim(field[$open], $padding) AS open,
    trim(field[$high], $padding) AS high,
    trim(field[$low], $padding) AS low,
    trim(field[$close], $padding) AS close,
    trim(field[$volume], $padding) AS volume
FROM split
