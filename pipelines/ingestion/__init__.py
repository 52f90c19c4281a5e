"""Price files and exchanges to bars."""
