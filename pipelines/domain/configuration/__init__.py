"""The configuration of a model, and the names that exports rely on."""
