SELECT historical_data.analyze_symbol(%s)
