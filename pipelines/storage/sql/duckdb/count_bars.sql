SELECT count(*) FROM sorted_bar
