SELECT live_data.create_day_partition(%s, %s)
