"""What an audit says, and how it follows from what was measured: figures, comparison, targets, findings, a grade."""
