"""strikecast: how strike probabilities are computed, stored and run."""
