WITH due AS (
    SELECT DISTINCT market_close FROM live_data.answer
    WHERE symbol = %(symbol)s AND closing_price IS NULL AND market_close <= %(now)s
        AND answered_at > %(now)s - interval '8 days'
), closed AS (
    SELECT due.market_close, newest.price
    FROM due
    CROSS JOIN LATERAL (
        SELECT price FROM live_data.price_log
        WHERE price_log.symbol = %(symbol)s AND ticked_at <= due.market_close
            AND ticked_at > due.market_close - interval '90 seconds'
        ORDER BY ticked_at DESC LIMIT 1
    ) AS newest
)
UPDATE live_data.answer SET closing_price = closed.price
FROM closed
WHERE answer.symbol = %(symbol)s AND answer.closing_price IS NULL AND answer.market_close = closed.market_close
    AND answer.answered_at > %(now)s - interval '8 days' AND answer.answered_at < %(now)s
