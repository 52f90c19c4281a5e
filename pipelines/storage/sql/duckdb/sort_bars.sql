CREATE TABLE sorted_bar AS
SELECT row_number() OVER (ORDER BY minute) - 1 AS "position", minute, open, high, low, close, volume
FROM bar
WHERE NOT EXISTS (
    SELECT 1 FROM refused
    WHERE refused.reason = 'duplicate' AND refused.file_index = bar.file_index AND refused.source_row = bar.source_row
)
ORDER BY minute
