CREATE OR REPLACE TEMP TABLE malformed AS
SELECT row, row_number() OVER (ORDER BY row) AS ordinal, raw
FROM (
    SELECT line::BIGINT - $header_lines AS row, replace(to_json({'text': any_value(csv_line), 'error': any_value(error_message)})::VARCHAR, '\u0000', '') AS raw
    FROM rejected_line GROUP BY line
)
