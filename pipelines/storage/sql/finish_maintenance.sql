UPDATE ops.maintenance SET finished_at = clock_timestamp(), result = %(result)s WHERE maintenance_id = %(maintenance_id)s
