INSERT INTO ops.audit_scratch (symbol, ticked_at, price, source) VALUES (%s, %s, %s, 'audit')
