"""Measured on real data, each figure beside its yardstick in the same run; `make bench` runs them all."""
