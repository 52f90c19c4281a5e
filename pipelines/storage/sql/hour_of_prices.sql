SELECT DISTINCT ON (date_trunc('second', ticked_at)) ticked_at, price
FROM live_data.price_log
WHERE symbol = %s AND ticked_at >= %s AND ticked_at <= %s
ORDER BY date_trunc('second', ticked_at), ticked_at DESC
