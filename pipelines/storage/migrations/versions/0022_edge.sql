CREATE TABLE analytics.edge_run (
    edge_run_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    exchange text NOT NULL CHECK (exchange IN ('kalshi', 'polymarket', 'simulated')),
    symbol text NOT NULL,
    series_ticker text NOT NULL,
    settlement text NOT NULL CHECK (settlement IN ('mean_60s', 'last_price')),
    model text NOT NULL,
    scored_from timestamptz NOT NULL,
    scored_until timestamptz NOT NULL CHECK (scored_until >= scored_from),
    quotes bigint NOT NULL CHECK (quotes > 0),
    events bigint NOT NULL CHECK (events > 0),
    days bigint NOT NULL CHECK (days > 0),
    left_out jsonb NOT NULL,
    code_version text NOT NULL,
    dagster_run_id text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE analytics.edge_run IS 'One row per scoring of a series: the model against the quotes of its settled markets. The newest of a series decides whether its pool is served.';
COMMENT ON COLUMN analytics.edge_run.edge_run_id IS 'Running number.';
COMMENT ON COLUMN analytics.edge_run.exchange IS 'Exchange of the markets; simulated ones have runs of their own.';
COMMENT ON COLUMN analytics.edge_run.symbol IS 'Symbol in capitals, such as BTC.';
COMMENT ON COLUMN analytics.edge_run.series_ticker IS 'Series of the markets, such as KXBTCD.';
COMMENT ON COLUMN analytics.edge_run.settlement IS 'What its markets settle on: mean_60s or last_price.';
COMMENT ON COLUMN analytics.edge_run.model IS 'Model that was scored.';
COMMENT ON COLUMN analytics.edge_run.scored_from IS 'Minute of the first quote, UTC.';
COMMENT ON COLUMN analytics.edge_run.scored_until IS 'Minute of the last quote, UTC.';
COMMENT ON COLUMN analytics.edge_run.quotes IS 'Quotes scored; minutes and strikes of one event are far from independent.';
COMMENT ON COLUMN analytics.edge_run.events IS 'Events that they are of.';
COMMENT ON COLUMN analytics.edge_run.days IS 'Days (UTC) of their closes.';
COMMENT ON COLUMN analytics.edge_run.left_out IS 'What was left out, with counts, and the events that were refused, with reasons.';
COMMENT ON COLUMN analytics.edge_run.code_version IS 'Version of the code that scored.';
COMMENT ON COLUMN analytics.edge_run.dagster_run_id IS 'The Dagster run; NULL from the command line.';
COMMENT ON COLUMN analytics.edge_run.created_at IS 'When, UTC.';

CREATE TABLE analytics.edge_score (
    edge_run_id bigint NOT NULL REFERENCES analytics.edge_run ON DELETE CASCADE,
    dimension text NOT NULL CHECK (dimension IN ('all', 'ttc_minutes', 'spread_cents', 'volatility')),
    level text NOT NULL,
    forecaster text NOT NULL CHECK (forecaster IN ('mid', 'model', 'pool', 'climatology')),
    quotes bigint NOT NULL CHECK (quotes > 0),
    events bigint NOT NULL,
    days bigint NOT NULL,
    mean_probability double precision NOT NULL,
    happened double precision NOT NULL,
    brier double precision NOT NULL,
    brier_low_by_event double precision,
    brier_high_by_event double precision,
    brier_low_by_day double precision,
    brier_high_by_day double precision,
    log_loss double precision NOT NULL,
    log_loss_low_by_event double precision,
    log_loss_high_by_event double precision,
    log_loss_low_by_day double precision,
    log_loss_high_by_day double precision,
    brier_difference double precision NOT NULL,
    brier_difference_low_by_event double precision,
    brier_difference_high_by_event double precision,
    brier_difference_low_by_day double precision,
    brier_difference_high_by_day double precision,
    log_loss_difference double precision NOT NULL,
    log_loss_difference_low_by_event double precision,
    log_loss_difference_high_by_event double precision,
    log_loss_difference_low_by_day double precision,
    log_loss_difference_high_by_day double precision,
    PRIMARY KEY (edge_run_id, dimension, level, forecaster)
);
COMMENT ON TABLE analytics.edge_score IS 'Scores of one run by group of quotes and by forecaster, all of the same quotes. Probabilities are fractions; lower scores are better.';
COMMENT ON COLUMN analytics.edge_score.edge_run_id IS 'Scoring run.';
COMMENT ON COLUMN analytics.edge_score.dimension IS 'all, ttc_minutes (time to close), spread_cents (ask less bid), volatility (forecast for the hour after the quote).';
COMMENT ON COLUMN analytics.edge_score.level IS 'Group: a range of minutes or of cents, or a fifth of the minutes by volatility, 1 the calmest.';
COMMENT ON COLUMN analytics.edge_score.forecaster IS 'mid of bid and ask; model; pool, half of the log odds of both; climatology, by time and distance alone.';
COMMENT ON COLUMN analytics.edge_score.quotes IS 'Quotes of the group.';
COMMENT ON COLUMN analytics.edge_score.events IS 'Events that they are of; intervals by event resample them.';
COMMENT ON COLUMN analytics.edge_score.days IS 'Days (UTC) of their closes; intervals by day resample them.';
COMMENT ON COLUMN analytics.edge_score.mean_probability IS 'Mean P(yes).';
COMMENT ON COLUMN analytics.edge_score.happened IS 'Share of the quotes whose market settled as YES.';
COMMENT ON COLUMN analytics.edge_score.brier IS 'Mean squared difference of P(yes) and the result.';
COMMENT ON COLUMN analytics.edge_score.brier_low_by_event IS 'Lower end of its 95 % interval, events resampled; NULL for fewer than 2.';
COMMENT ON COLUMN analytics.edge_score.brier_high_by_event IS 'Upper end of its 95 % interval, events resampled; NULL for fewer than 2.';
COMMENT ON COLUMN analytics.edge_score.brier_low_by_day IS 'Lower end of its 95 % interval, days resampled; NULL for fewer than 2.';
COMMENT ON COLUMN analytics.edge_score.brier_high_by_day IS 'Upper end of its 95 % interval, days resampled; NULL for fewer than 2.';
COMMENT ON COLUMN analytics.edge_score.log_loss IS 'Mean of minus the log of the probability given to the result (clipped to 1e-6).';
COMMENT ON COLUMN analytics.edge_score.log_loss_low_by_event IS 'Lower end of its 95 % interval, events resampled; NULL for fewer than 2.';
COMMENT ON COLUMN analytics.edge_score.log_loss_high_by_event IS 'Upper end of its 95 % interval, events resampled; NULL for fewer than 2.';
COMMENT ON COLUMN analytics.edge_score.log_loss_low_by_day IS 'Lower end of its 95 % interval, days resampled; NULL for fewer than 2.';
COMMENT ON COLUMN analytics.edge_score.log_loss_high_by_day IS 'Upper end of its 95 % interval, days resampled; NULL for fewer than 2.';
COMMENT ON COLUMN analytics.edge_score.brier_difference IS 'Brier score minus that of the mid on the same quotes; below 0 is better than the mid.';
COMMENT ON COLUMN analytics.edge_score.brier_difference_low_by_event IS 'Lower end of its 95 % interval, events resampled; NULL for fewer than 2.';
COMMENT ON COLUMN analytics.edge_score.brier_difference_high_by_event IS 'Upper end of its 95 % interval, events resampled; NULL for fewer than 2.';
COMMENT ON COLUMN analytics.edge_score.brier_difference_low_by_day IS 'Lower end of its 95 % interval, days resampled; NULL for fewer than 2.';
COMMENT ON COLUMN analytics.edge_score.brier_difference_high_by_day IS 'Upper end of its 95 % interval, days resampled; NULL for fewer than 2.';
COMMENT ON COLUMN analytics.edge_score.log_loss_difference IS 'Log loss minus that of the mid on the same quotes; below 0 is better than the mid.';
COMMENT ON COLUMN analytics.edge_score.log_loss_difference_low_by_event IS 'Lower end of its 95 % interval, events resampled; NULL for fewer than 2.';
COMMENT ON COLUMN analytics.edge_score.log_loss_difference_high_by_event IS 'Upper end of its 95 % interval, events resampled; NULL for fewer than 2.';
COMMENT ON COLUMN analytics.edge_score.log_loss_difference_low_by_day IS 'Lower end of its 95 % interval, days resampled; NULL for fewer than 2.';
COMMENT ON COLUMN analytics.edge_score.log_loss_difference_high_by_day IS 'Upper end of its 95 % interval, days resampled; NULL for fewer than 2.';

GRANT SELECT, INSERT ON analytics.edge_run, analytics.edge_score TO strikecast_pipeline;
GRANT SELECT ON analytics.edge_run, analytics.edge_score TO strikecast_live, strikecast_reader;
