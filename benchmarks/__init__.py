"""Benchmarks, each with a reference measured in the same run; `make bench` runs the main ones.

They use generated bars, or real ones if STRIKECAST_REAL_DATA is set (`price_files`).
"""
