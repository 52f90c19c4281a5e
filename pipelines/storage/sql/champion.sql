SELECT symbol, champion, challenger, since, reason FROM analytics.champion WHERE symbol = %s
