SELECT live_data.create_answer_partition(%s)
