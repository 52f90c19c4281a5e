SELECT historical_data.create_symbol_partitions(%s)
