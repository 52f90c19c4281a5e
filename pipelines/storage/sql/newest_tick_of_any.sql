SELECT max(newest.at) FROM unnest(%s::text[]) AS known (symbol)
CROSS JOIN LATERAL (SELECT max(ticked_at) AS at FROM live_data.price_log WHERE price_log.symbol = known.symbol) AS newest
