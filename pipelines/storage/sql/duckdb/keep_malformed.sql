INSERT INTO refused SELECT $1, row, 'malformed', raw FROM malformed
