"""Files that other machines read: the list of them, the shared place, and copies of small ones in the database."""
