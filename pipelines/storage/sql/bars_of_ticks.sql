SELECT minute.began, (array_agg(price ORDER BY ticked_at))[1], max(price), min(price),
    (array_agg(price ORDER BY ticked_at DESC))[1], 0.0::float8
FROM live_data.price_log
CROSS JOIN LATERAL (SELECT date_trunc('minute', ticked_at - interval '1 microsecond') AS began) AS minute
WHERE symbol = %(symbol)s AND ticked_at > %(since)s AND ticked_at <= %(until)s AND source <> 'replay'
GROUP BY minute.began
HAVING min(ticked_at) <= minute.began + interval '15 seconds' AND max(ticked_at) >= minute.began + interval '45 seconds'
ORDER BY minute.began
