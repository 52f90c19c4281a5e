-- name: series_of_symbol
SELECT exchange, series_ticker, array_agg(DISTINCT settlement ORDER BY settlement) AS settlements, min(closes_at) AS first_close_at,
    max(closes_at) AS last_close_at
FROM market_data.market WHERE symbol = %(symbol)s GROUP BY exchange, series_ticker ORDER BY exchange, series_ticker

-- name: closed_markets
SELECT * FROM market_data.market
WHERE exchange = %(exchange)s AND series_ticker = %(series)s AND symbol = %(symbol)s
    AND closes_at >= %(since)s AND closes_at < %(until)s
ORDER BY market_id

-- name: candles_as_arrays
-- Of the last hour before the closes. 0 and 1 for no bid and no ask. A candle of the exchange ends with the quote of that
-- instant, a derived one with a quote received before: its age is in seconds, infinite where it is not known.
SELECT array_agg(market_id), array_agg(ends_at), array_agg(bid), array_agg(ask), array_agg(age)
FROM (
    SELECT market_id, ends_at, coalesce(yes_bid_close, 0)::double precision AS bid,
        coalesce(yes_ask_close, 1)::double precision AS ask,
        CASE WHEN is_derived THEN coalesce(extract(epoch FROM ends_at - quoted_at)::double precision, 'Infinity') ELSE 0 END AS age
    FROM market_data.market_candle JOIN market_data.market USING (market_id)
    WHERE exchange = %(exchange)s AND series_ticker = %(series)s AND symbol = %(symbol)s
        AND closes_at >= %(since)s AND closes_at < %(until)s
        AND ends_at >= closes_at - interval '1 hour' AND ends_at <= closes_at
) AS candle

-- name: insert_edge_run
INSERT INTO analytics.edge_run (
    exchange, symbol, series_ticker, settlement, model, scored_from, scored_until, quotes, events, days, left_out, code_version,
    dagster_run_id
)
VALUES (
    %(exchange)s, %(symbol)s, %(series)s, %(settlement)s, %(model)s, %(scored_from)s, %(scored_until)s, %(quotes)s, %(events)s,
    %(days)s, %(left_out)s, %(code_version)s, %(run_id)s
)
RETURNING edge_run_id

-- name: copy_edge_scores_in
COPY analytics.edge_score (
    edge_run_id, dimension, level, forecaster, quotes, events, days, mean_probability, happened,
    brier, brier_low_by_event, brier_high_by_event, brier_low_by_day, brier_high_by_day,
    log_loss, log_loss_low_by_event, log_loss_high_by_event, log_loss_low_by_day, log_loss_high_by_day,
    brier_difference, brier_difference_low_by_event, brier_difference_high_by_event, brier_difference_low_by_day,
    brier_difference_high_by_day,
    log_loss_difference, log_loss_difference_low_by_event, log_loss_difference_high_by_event, log_loss_difference_low_by_day,
    log_loss_difference_high_by_day
) FROM STDIN

-- name: pool_scores
-- The newest run of each series, with the model that answers for its symbol now.
SELECT run.series_ticker, score.events, score.brier_difference, score.brier_difference_low_by_event,
    score.brier_difference_high_by_event, run.model, champion.champion
FROM (
    SELECT DISTINCT ON (series_ticker) edge_run_id, series_ticker, symbol, model
    FROM analytics.edge_run WHERE exchange = %(exchange)s
    ORDER BY series_ticker, edge_run_id DESC
) AS run
JOIN analytics.edge_score AS score ON score.edge_run_id = run.edge_run_id AND score.dimension = 'all' AND score.forecaster = 'pool'
LEFT JOIN analytics.champion ON champion.symbol = run.symbol
ORDER BY run.series_ticker
