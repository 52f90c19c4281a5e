SELECT symbol, generation FROM analytics.active_generation WHERE model = %s AND symbol = ANY (%s)
