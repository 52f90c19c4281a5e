-- name: newest_switch
SELECT stopped, reason, switched_by AS by, switched_at AS at
FROM live_data.desk_switch WHERE campaign = %s
ORDER BY switch_id DESC LIMIT 1

-- name: insert_switch
INSERT INTO live_data.desk_switch (campaign, stopped, reason, switched_by)
VALUES (%(campaign)s, %(stopped)s, %(reason)s, %(by)s)
RETURNING stopped, reason, switched_by AS by, switched_at AS at
