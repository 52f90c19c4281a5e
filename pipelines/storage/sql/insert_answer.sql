INSERT INTO live_data.answer (
    symbol, answered_at, market_close, ttc_seconds, price, model, generation, bucket, sigma_pct, strikes, prob_beyond,
    status
) VALUES (
    %(symbol)s, %(answered_at)s, %(market_close)s, %(ttc_seconds)s, %(price)s, %(model)s, %(generation)s, %(bucket)s,
    %(sigma_pct)s, %(strikes)s, %(prob_beyond)s, %(status)s
)
ON CONFLICT (symbol, answered_at) DO NOTHING
