-- The median of those that are numbers, if more than half of the first rows are.
SELECT CASE WHEN count(number) * 2 > count(*) THEN median(number) END
FROM (SELECT TRY_CAST(opened AS DOUBLE) AS number FROM raw LIMIT 1000)
