-- name: fees_of_series
SELECT event_ticker, fee_type, multiplier, nullif(starts_at, '-infinity'), ends_at FROM market_data.market_fee
WHERE exchange = %(exchange)s AND series_ticker = %(series)s
ORDER BY event_ticker, starts_at

-- name: variants_of_quotes
SELECT DISTINCT model, variant FROM analytics.desk_backtest
WHERE exchange = %(exchange)s AND series_ticker = %(series)s
    AND quoted_from <= %(quoted_until)s AND quoted_until >= %(quoted_from)s

-- name: insert_desk_backtest
INSERT INTO analytics.desk_backtest (
    exchange, symbol, series_ticker, settlement, model, quoted_from, quoted_until, rules, assumptions, variant, variants, quotes,
    events, days, trades, contracts, fees_usd, gain_usd, gain_low_by_event_usd, gain_high_by_event_usd, gain_low_by_day_usd,
    gain_high_by_day_usd, max_drawdown_usd, report, code_version, dagster_run_id
)
VALUES (
    %(exchange)s, %(symbol)s, %(series)s, %(settlement)s, %(model)s, %(quoted_from)s, %(quoted_until)s, %(rules)s,
    %(assumptions)s, %(variant)s, %(variants)s, %(quotes)s, %(events)s, %(days)s, %(trades)s, %(contracts)s, %(fees_usd)s,
    %(gain_usd)s, %(low_by_event)s, %(high_by_event)s, %(low_by_day)s, %(high_by_day)s, %(max_drawdown_usd)s, %(report)s,
    %(code_version)s, %(run_id)s
)
RETURNING desk_backtest_id
