-- name: record_import
INSERT INTO market_data.market_import (exchange, symbol, files, rows_read, rows_stored, rejected)
VALUES (%(exchange)s, %(symbol)s, %(files)s, %(rows_read)s, %(rows_stored)s, %(rejected)s)
