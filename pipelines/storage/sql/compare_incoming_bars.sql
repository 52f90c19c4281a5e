SELECT count(*) FILTER (WHERE stored.symbol IS NULL) AS inserted,
    count(*) FILTER (
        WHERE stored.symbol IS NOT NULL
        AND (stored.open, stored.high, stored.low, stored.close, stored.volume)
            IS DISTINCT FROM (incoming.open, incoming.high, incoming.low, incoming.close, incoming.volume)
    ) AS corrected,
    count(*) FILTER (WHERE stored.close IS DISTINCT FROM incoming.close AND stored.symbol IS NOT NULL) AS other_close,
    count(*) AS total,
    min(incoming.opened_at) FILTER (
        WHERE (stored.open, stored.high, stored.low, stored.close, stored.volume)
            IS DISTINCT FROM (incoming.open, incoming.high, incoming.low, incoming.close, incoming.volume)
    ) AS first_changed_at
FROM incoming_bar AS incoming
LEFT JOIN historical_data.price_history AS stored ON stored.symbol = %s AND stored.opened_at = incoming.opened_at
