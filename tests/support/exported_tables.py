"""Synthetic fingerprint tables in the format of the original's exports.

The format is written out here instead of using the code under test: four files, the baseline and the buckets -10, 0
and 10; a nameless first column with 1m TTC to 60m TTC; 40 thresholds from 0.00 to 2.00 without
1.70, upward before downward; percentages as Python prints a float of two decimals (48.51, 0.4, 0.0); lines end in LF.
"""

from math import erfc, sqrt
from pathlib import Path

THRESHOLDS = [f"{bps / 100:.2f}" for bps in range(0, 201, 5) if bps != 170]
#: Drift in percent over an hour, and standard deviation in percent over a minute, of each file's values.
FILES = {
    "btc_fingerprint_directional_baseline.csv": (0.010, 0.052),
    "btc_fingerprint_directional_momentum_-10.csv": (-0.030, 0.060),
    "btc_fingerprint_directional_momentum_000.csv": (0.005, 0.040),
    "btc_fingerprint_directional_momentum_010.csv": (0.040, 0.061),
}
#: Percent of the minutes whose close equals the one before: at or past the price on both sides.
TIES = 0.45


def write_tables(folder: Path) -> Path:
    """Write the four files into `folder`, and return it."""
    header = "".join(f",>= +{threshold}%,<= -{threshold}%" for threshold in THRESHOLDS)
    for name, (drift, sigma) in FILES.items():
        rows = [",".join([f"{ttc}m TTC", *_row(ttc, drift * ttc / 60, sigma * sqrt(ttc))]) for ttc in range(1, 61)]
        (folder / name).write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return folder


def _row(ttc: int, mean: float, sd: float) -> list[str]:
    """Cells of a row: percent of a normal distribution beyond each threshold."""
    cells = []
    for threshold in THRESHOLDS:
        ties = TIES / sqrt(ttc) if threshold == "0.00" else 0.0
        for centre in (mean, -mean):
            percent = 50 * erfc((float(threshold) - centre) / sd / sqrt(2)) + ties
            cells.append(str(round(percent, 2)))
    return cells
