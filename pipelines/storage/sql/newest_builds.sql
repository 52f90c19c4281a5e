SELECT DISTINCT ON (symbol, model) symbol, model, coalesce(bar_count, 0) AS bars, coalesce(lookup_rows, 0) AS lookup_rows,
    extract(epoch FROM completed_at - created_at)::float8 AS seconds,
    extract(epoch FROM clock_timestamp() - completed_at)::float8 AS age_seconds
FROM analytics.model_version WHERE state = 'complete' ORDER BY symbol, model, generation DESC
