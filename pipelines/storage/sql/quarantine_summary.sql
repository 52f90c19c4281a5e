SELECT reason, count(*) FROM historical_data.quarantined_bar WHERE symbol = %s GROUP BY reason ORDER BY reason
