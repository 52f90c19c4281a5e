-- Jobs that left something undone in each of their two newest runs, and what they said last.
SELECT job, left_now FROM (
    SELECT job, finished.result -> 'left' ->> 0 AS left_now,
        row_number() OVER newest AS position,
        count(*) FILTER (WHERE finished.result -> 'left' ->> 0 IS NOT NULL) OVER (newest ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING) AS times
    FROM ops.maintenance AS finished
    WHERE finished_at IS NOT NULL AND result ? 'left' AND started_at > clock_timestamp() - interval '30 days'
    WINDOW newest AS (PARTITION BY job ORDER BY maintenance_id DESC)
) AS ranked
WHERE position = 1 AND times = 2
