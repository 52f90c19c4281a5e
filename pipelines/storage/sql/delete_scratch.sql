-- An audit's own rows, and those of one that was killed.
DELETE FROM ops.audit_scratch WHERE symbol = %s OR received_at < clock_timestamp() - interval '1 hour'
