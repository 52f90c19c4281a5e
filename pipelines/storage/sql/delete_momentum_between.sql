DELETE FROM historical_data.momentum WHERE symbol = %s AND opened_at >= %s AND opened_at < %s
