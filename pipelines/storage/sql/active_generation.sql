SELECT generation FROM analytics.active_generation WHERE symbol = %s AND model = %s
