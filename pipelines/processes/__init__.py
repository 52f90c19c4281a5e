"""This system's operating-system processes: their priority and their pid file."""
