SELECT model, extract(hour FROM answered_at AT TIME ZONE 'UTC')::integer, prob_beyond, happened
FROM live_data.answer_strike
WHERE symbol = %s AND answered_at >= %s AND answered_at < %s AND happened IS NOT NULL
ORDER BY model
