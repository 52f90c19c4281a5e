-- Prices in another unit, such as 2^64, are refused where they enter. Rows from before are not checked: live sessions
-- judge what they read.
ALTER TABLE live_data.price_log ADD CONSTRAINT price_log_price_is_in_range CHECK (price BETWEEN 1e-12 AND 1e9) NOT VALID;
