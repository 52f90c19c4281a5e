INSERT INTO analytics.standardised_parameters (symbol, borrowed_from, parameters, fitted_until, code_version)
VALUES (%(symbol)s, %(borrowed_from)s, %(parameters)s, %(fitted_until)s, %(code_version)s)
RETURNING parameters_id
