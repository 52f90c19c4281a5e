INSERT INTO historical_data.price_history AS stored (symbol, opened_at, open, high, low, close, volume)
SELECT incoming.symbol, incoming.opened_at, incoming.open, incoming.high, incoming.low, incoming.close, incoming.volume
FROM incoming_bar AS incoming
LEFT JOIN historical_data.price_history AS present
    ON present.symbol = incoming.symbol AND present.opened_at = incoming.opened_at
WHERE present.symbol IS NULL
    OR (present.open, present.high, present.low, present.close, present.volume)
        IS DISTINCT FROM (incoming.open, incoming.high, incoming.low, incoming.close, incoming.volume)
ORDER BY incoming.opened_at
ON CONFLICT (symbol, opened_at) DO UPDATE
SET open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close, volume = excluded.volume
