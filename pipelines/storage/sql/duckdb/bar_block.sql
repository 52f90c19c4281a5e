SELECT minute, open, high, low, close, volume FROM sorted_bar WHERE position >= $1 AND position < $2 ORDER BY position
