SELECT min(started_at) FROM live_data.session
