"""Configuration of the momentum model, and public names."""
