-- name: final_results
SELECT ticker, result, settlement_value FROM market_data.market
WHERE exchange = %(exchange)s AND ticker = ANY (%(tickers)s::text[]) AND status = 'finalized' AND result IS NOT NULL
ORDER BY ticker
