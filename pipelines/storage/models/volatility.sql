-- name: newest_parameters
SELECT parameters_id, parameters, borrowed_from, fitted_until
FROM analytics.standardised_parameters WHERE symbol = %s ORDER BY parameters_id DESC LIMIT 1

-- name: insert_parameters
INSERT INTO analytics.standardised_parameters (symbol, borrowed_from, parameters, fitted_until, code_version)
VALUES (%(symbol)s, %(borrowed_from)s, %(parameters)s, %(fitted_until)s, %(code_version)s)
RETURNING parameters_id

-- name: volatility_days
SELECT day, usual_return, variance_3_min, variance_10_min, variance_60_min, variance_720_min,
    range_3_min, range_10_min, range_60_min, range_720_min
FROM historical_data.volatility_day WHERE symbol = %s AND day BETWEEN %s AND %s
ORDER BY day

-- name: newest_volatility_day
SELECT max(day) FROM historical_data.volatility_day WHERE symbol = %s

-- name: count_volatility_days
SELECT count(*) FROM historical_data.volatility_day WHERE symbol = %s

-- name: delete_volatility_days
DELETE FROM historical_data.volatility_day WHERE symbol = %s AND day >= %s

-- name: copy_volatility_days_in
COPY historical_data.volatility_day (
    symbol, day, parameters_id, usual_return, variance_3_min, variance_10_min, variance_60_min, variance_720_min,
    range_3_min, range_10_min, range_60_min, range_720_min
) FROM STDIN (FORMAT binary)

-- name: close_at
SELECT close FROM historical_data.price_history WHERE symbol = %s AND opened_at = %s

-- name: counts
SELECT week, ttc_minutes, counts FROM analytics.standardised_count
WHERE symbol = %s AND week BETWEEN %s AND %s
ORDER BY week, ttc_minutes

-- name: delete_counts
DELETE FROM analytics.standardised_count WHERE symbol = %s AND (week >= %s OR parameters_id <> %s)

-- name: copy_counts_in
COPY analytics.standardised_count (symbol, week, ttc_minutes, parameters_id, counts) FROM STDIN (FORMAT binary)
