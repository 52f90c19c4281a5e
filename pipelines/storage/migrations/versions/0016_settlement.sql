-- Answers of earlier versions were given, settled and scored by the last price.
ALTER TABLE live_data.answer
    ADD COLUMN settlement text NOT NULL DEFAULT 'last_price',
    ADD COLUMN basis_bps double precision,
    ADD COLUMN source text;
ALTER TABLE live_data.answer ALTER COLUMN settlement SET DEFAULT 'mean_60s';
-- Not validated: existing rows have the first default, and no other value.
ALTER TABLE live_data.answer
    ADD CONSTRAINT answer_settlement_is_known CHECK (settlement IN ('last_price', 'mean_60s')) NOT VALID,
    ADD CONSTRAINT answer_basis_is_in_range CHECK (basis_bps BETWEEN -10000 AND 10000) NOT VALID;
COMMENT ON COLUMN live_data.answer.settlement IS
    'Rule of the market''s value at its close: last_price, or mean_60s, the mean of the 60 one-second values before it.';
COMMENT ON COLUMN live_data.answer.basis_bps IS
    'Log of the market''s index over the price, basis points, that the answer was computed with; NULL: none was used.';
COMMENT ON COLUMN live_data.answer.source IS
    'Source of the price, as in price_log; external: any producer. NULL: unknown, of an earlier version.';
COMMENT ON COLUMN live_data.answer.prob_beyond IS
    'Percent: the market''s value at its close is at or above the strike, for strikes above the price, or below it, for the others; NaN without an answer.';
COMMENT ON COLUMN live_data.answer.status IS 'ok, stale, degraded or replay, as in the file.';
COMMENT ON COLUMN live_data.answer.closing_price IS
    'Value by the settlement rule in prices of the source, without the basis, USD; NULL until it is settled, and for good where the ticks of the last minute do not give it.';

CREATE OR REPLACE VIEW live_data.answer_strike AS
SELECT answer.symbol, answer.answered_at, answer.market_close, answer.ttc_seconds, answer.price, answer.model,
    answer.generation, cell.strike, cell.prob_beyond,
    (closed.market_value >= cell.strike) = (cell.strike > answer.price) AS happened,
    answer.settlement, answer.basis_bps, answer.source, closed.market_value,
    answer.status = 'replay' OR coalesce(answer.source = 'replay', false) AS replayed
FROM live_data.answer
CROSS JOIN LATERAL unnest(answer.strikes, answer.prob_beyond) AS cell (strike, prob_beyond)
CROSS JOIN LATERAL (SELECT answer.closing_price * exp(coalesce(answer.basis_bps, 0) / 10000)) AS closed (market_value)
WHERE cell.prob_beyond <> 'NaN';
COMMENT ON COLUMN live_data.answer_strike.prob_beyond IS
    'Percent: the market''s value at its close is at or above the strike, for strikes above the price, or below it, for the others.';
COMMENT ON COLUMN live_data.answer_strike.happened IS 'Whether it was; NULL while the market''s value is not known.';
COMMENT ON COLUMN live_data.answer_strike.settlement IS 'Rule of the market''s value: last_price or mean_60s.';
COMMENT ON COLUMN live_data.answer_strike.basis_bps IS 'Log of the market''s index over the price, basis points; NULL: none was used.';
COMMENT ON COLUMN live_data.answer_strike.source IS 'Source of the price; NULL: unknown, of an earlier version.';
COMMENT ON COLUMN live_data.answer_strike.market_value IS 'Value at the market''s close on its index, USD: closing_price times exp(basis); NULL while it is not known.';
COMMENT ON COLUMN live_data.answer_strike.replayed IS 'Whether the prices were replayed: stored history is no out-of-sample outcome.';

-- Every score is over forecasts of one rule; those of earlier versions are by the last price. The new key locks a small
-- table, in which a scoring run has a few hundred rows.
ALTER TABLE analytics.score ADD COLUMN settlement text NOT NULL DEFAULT 'last_price';
ALTER TABLE analytics.score
    ADD CONSTRAINT score_settlement_is_known CHECK (settlement IN ('last_price', 'mean_60s')) NOT VALID;
-- squawk-ignore ban-drop-constraint
ALTER TABLE analytics.score DROP CONSTRAINT score_pkey;
-- squawk-ignore constraint-missing-not-valid, adding-serial-primary-key-field
ALTER TABLE analytics.score ADD PRIMARY KEY (score_run_id, model, settlement, dimension, level);
COMMENT ON COLUMN analytics.score.settlement IS
    'Rule by which the outcomes were settled: last_price or mean_60s. Walk-forward scores are by last_price: one-minute bars do not give the mean of a minute.';
