SELECT max(newest.at) FROM unnest(%s::text[]) AS known (symbol)
CROSS JOIN LATERAL (SELECT max(answered_at) AS at FROM live_data.answer WHERE answer.symbol = known.symbol) AS newest
