-- The time column's type, and the median of those that are numbers, if more than half of the first rows are.
SELECT any_value(typeof(opened)), CASE WHEN count(number) * 2 > count(*) THEN median(number) END
FROM (SELECT opened, TRY_CAST(opened::VARCHAR AS DOUBLE) AS number FROM query_table($source) LIMIT 1000)
