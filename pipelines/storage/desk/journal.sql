-- name: repeatable_read
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY

-- name: span
-- The newest save until then, else the oldest that is kept.
SELECT coalesce(
        (SELECT loop_count FROM live_data.session_snapshots
         WHERE session_id = %(session_id)s AND created_at <= %(since)s ORDER BY snapshot_id DESC LIMIT 1),
        (SELECT loop_count FROM live_data.session_snapshots
         WHERE session_id = %(session_id)s ORDER BY snapshot_id LIMIT 1)
    ),
    (SELECT max(event) FROM live_data.desk_event WHERE campaign = %(campaign)s)

-- name: events_up_to
SELECT event, at, kind, reason, trade, symbol, ticker, side, price, contracts, fee_usd
FROM live_data.desk_event WHERE campaign = %(campaign)s AND event <= %(newest)s AND event > %(newest)s - %(count)s::bigint
ORDER BY event
