-- By how many hours the incoming closes would have to move to agree best with the stored ones, from 500 of them.
SELECT shift.hours, avg((stored.close = picked.close)::integer) AS agreeing
FROM (SELECT opened_at, close FROM incoming_bar ORDER BY hashtext(opened_at::text) LIMIT 500) AS picked
CROSS JOIN generate_series(-14, 14) AS shift (hours)
JOIN historical_data.price_history AS stored
    ON stored.symbol = %s AND stored.opened_at = picked.opened_at + make_interval(hours => shift.hours)
GROUP BY shift.hours
ORDER BY agreeing DESC, abs(shift.hours)
LIMIT 1
