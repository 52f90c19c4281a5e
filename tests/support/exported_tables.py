"""Exported fingerprint tables in the shape of the original's own, with values of our making.

The shape is stated here as facts, not taken from the project's export, which is tested against it: four files of the
buckets none, -10, 0 and 10; a nameless first column with 1m TTC to 60m TTC; 40 thresholds from 0.00 to 2.00 without
1.70, upward before downward; percentages as Python prints a float of two decimals (48.51, 0.4, 0.0); lines end in LF.
"""

from math import erfc, sqrt
from pathlib import Path

THRESHOLDS = [
    "0.00",
    "0.05",
    "0.10",
    "0.15",
    "0.20",
    "0.25",
    "0.30",
    "0.35",
    "0.40",
    "0.45",
    "0.50",
    "0.55",
    "0.60",
    "0.65",
    "0.70",
    "0.75",
    "0.80",
    "0.85",
    "0.90",
    "0.95",
    "1.00",
    "1.05",
    "1.10",
    "1.15",
    "1.20",
    "1.25",
    "1.30",
    "1.35",
    "1.40",
    "1.45",
    "1.50",
    "1.55",
    "1.60",
    "1.65",
    "1.75",
    "1.80",
    "1.85",
    "1.90",
    "1.95",
    "2.00",
]
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
    """Cells of a row: shares of a normal distribution beyond each threshold, which fall with the threshold."""
    cells = []
    for threshold in THRESHOLDS:
        ties = TIES / sqrt(ttc) if threshold == "0.00" else 0.0
        for centre in (mean, -mean):
            percent = 50 * erfc((float(threshold) - centre) / sd / sqrt(2)) + ties
            cells.append(str(round(percent, 2)))
    return cells
