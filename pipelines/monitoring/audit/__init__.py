"""The audit: what it collects, in which order, and how it is rendered."""
