SELECT reason, count(*) FROM refused GROUP BY reason ORDER BY reason
