SELECT ticked_at, price FROM live_data.price_log
WHERE symbol = %s AND ticked_at > %s
ORDER BY ticked_at
