UPDATE ops.audit_scratch SET price = price + 1 WHERE symbol = %s AND ticked_at = %s
