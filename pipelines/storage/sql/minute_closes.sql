SELECT DISTINCT ON (minute.began) ticked_at, price
FROM live_data.price_log
CROSS JOIN LATERAL (SELECT date_trunc('minute', ticked_at - interval '1 microsecond') AS began) AS minute
WHERE symbol = %s AND ticked_at > %s
ORDER BY minute.began, ticked_at DESC
