"""Alert conditions, alert delivery, and the audit of the system."""
