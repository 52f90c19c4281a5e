SELECT left(regexp_replace(query, '\s+', ' ', 'g'), 80) AS statement, sum(calls)::float8 AS calls,
    (sum(total_exec_time) / sum(calls))::float8 AS mean_ms,
    (100 * sum(total_exec_time) / nullif(sum(sum(total_exec_time)) OVER (), 0))::float8 AS share_pct
FROM {view} AS counted
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND query <> '<insufficient privilege>' AND calls > 0
GROUP BY 1 ORDER BY sum(total_exec_time) DESC LIMIT 10
