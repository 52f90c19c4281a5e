COPY historical_data.volatility_day (
    symbol, day, parameters_id, usual_return, variance_3_min, variance_10_min, variance_60_min, variance_720_min
) FROM STDIN (FORMAT binary)
