-- name: prices_by_second
SELECT DISTINCT ON (date_trunc('second', ticked_at)) ticked_at, price
FROM live_data.price_log
WHERE symbol = %(symbol)s AND ticked_at >= %(since)s AND ticked_at <= %(until)s
    AND (source = 'replay') = (
        SELECT source = 'replay' FROM live_data.price_log
        WHERE symbol = %(symbol)s AND ticked_at >= %(since)s AND ticked_at <= %(until)s
        ORDER BY ticked_at DESC LIMIT 1
    )
ORDER BY date_trunc('second', ticked_at), ticked_at DESC
