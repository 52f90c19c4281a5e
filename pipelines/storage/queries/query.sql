-- name: set_utc
SET TimeZone = 'UTC'

-- name: restrict
-- In this order: paths cannot be permitted after access was denied.
SET allowed_paths = {paths};
SET allowed_directories = [{scratch}];
SET enable_external_access = false;
-- A plan must not rest on the tables being empty; the others add filters that depend on rows, and second scans.
SET disabled_optimizers = 'statistics_propagation,late_materialization,top_n,join_filter_pushdown'

-- name: finish_planning
RESET disabled_optimizers;
SET lock_configuration = true

-- name: create_schemas
CREATE SCHEMA loaded; CREATE SCHEMA historical_data; CREATE SCHEMA analytics; CREATE SCHEMA live_data; CREATE SCHEMA market_data;
CREATE SCHEMA ops;
SET search_path = 'main,historical_data,analytics,live_data,market_data,ops'

-- name: create_table
CREATE TABLE {target} ({columns})

-- name: create_view
CREATE VIEW {target} AS SELECT {columns} FROM {source}

-- name: missing_column
-- A column that the plan did not read: an error rather than a wrong value.
error({message})::{type} AS {column}

-- name: unread_rows
(SELECT error({message}) AS unread) WHERE unread IS NULL

-- name: drop_table
DROP TABLE {target}

-- name: create_price
CREATE VIEW price AS {parts}

-- name: stored_bars
SELECT symbol, opened_at, open, high, low, close, volume, false AS archived FROM historical_data.price_history

-- name: archived_bars
SELECT {symbol} AS symbol, timestamp AS opened_at, open, high, low, close, volume, true AS archived FROM {source}

-- name: archived_bars_in_both
-- A bar in both, after a failed deletion or a repeated ingestion, counts once.
SELECT {symbol} AS symbol, timestamp AS opened_at, open, high, low, close, volume, true AS archived FROM {source}
ANTI JOIN (
    SELECT opened_at AS timestamp FROM historical_data.price_history
    WHERE symbol = {symbol} AND opened_at >= {since} AND opened_at < {until}
) USING (timestamp)
