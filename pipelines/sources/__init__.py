"""What the sources of prices and of markets share."""
