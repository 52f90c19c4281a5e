"""Each figure beside its yardstick in the same run; `make bench` runs them all.

Bars are generated, or real ones where STRIKECAST_REAL_DATA names them (`price_files`).
"""
