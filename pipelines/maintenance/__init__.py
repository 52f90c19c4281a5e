"""What runs at night: pure plans from the domain, and their execution."""
