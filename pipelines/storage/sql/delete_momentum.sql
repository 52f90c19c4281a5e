DELETE FROM historical_data.momentum WHERE symbol = %s AND opened_at = ANY (%s)
