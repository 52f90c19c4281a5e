INSERT INTO recovery_mark (label) VALUES (%s)
