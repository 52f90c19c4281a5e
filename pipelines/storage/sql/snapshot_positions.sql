SELECT position_key, trade_data, order_a_data, order_b_data, position_open_time
FROM live_data.position_snapshots WHERE snapshot_id = %s
ORDER BY position_key
