SELECT parameters_id, parameters, borrowed_from, fitted_until
FROM analytics.standardised_parameters WHERE symbol = %s ORDER BY parameters_id DESC LIMIT 1
