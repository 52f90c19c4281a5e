DROP TABLE IF EXISTS rejected_line; DROP TABLE IF EXISTS rejected_scan
