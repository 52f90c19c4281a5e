CREATE TEMPORARY TABLE incoming_bar (LIKE historical_data.price_history, PRIMARY KEY (opened_at)) ON COMMIT DROP
