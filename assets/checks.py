"""Asset checks, named after the invariant they hold, one per symbol."""

import warnings
from collections.abc import Iterable

import dagster as dg

from pipelines.domain.models.invariants import CheckResult
from pipelines.resources import SYMBOLS

#: A history with more than this share of its minutes missing is reported.
MOST_MISSING_SHARE = 0.01
#: Prices delivered daily are at most this old.
OLDEST_NEWEST_BAR_HOURS = 26
LOOKUP_READ_SLO_MS = 10.0


def _check(asset: str, name: str, description: str, *, blocking: bool) -> dg.AssetCheckSpec:
    with warnings.catch_warnings():
        # A result per symbol rather than the last symbol's: a preview in Dagster 1.13.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.AssetCheckSpec(name, asset=asset, description=description, blocking=blocking, partitions_def=SYMBOLS)


def invariant(asset: str, name: str, description: str) -> dg.AssetCheckSpec:
    """A check that keeps what depends on the asset from being built when it fails."""
    return _check(asset, name, description, blocking=True)


def warning(asset: str, name: str, description: str) -> dg.AssetCheckSpec:
    """A check that is reported and stops nothing."""
    return _check(asset, name, description, blocking=False)


PRICE_HISTORY = [
    warning(
        "price_history",
        "gap_share",
        f"At most {MOST_MISSING_SHARE:.0%} of the minutes since the first bar are missing.",
    ),
    warning("price_history", "newest_bar_age", f"The newest bar is at most {OLDEST_NEWEST_BAR_HOURS} h old."),
]
FINGERPRINT = [
    invariant("fingerprint", "cells_complete", "Every bucket has every horizon and every threshold."),
    invariant("fingerprint", "percent_0_to_100", "Every cell is between 0 and 100, none is NaN."),
    invariant("fingerprint", "monotone_in_move", "A larger move is never more probable than a smaller one."),
    invariant(
        "fingerprint", "n_adds_up_to_the_bars", "The buckets' n add up to the bars that have a bar t minutes later."
    ),
]
STANDARDISED_FINGERPRINT = [
    invariant("standardised_fingerprint", "cells_complete", "Every group has every horizon and every node."),
    invariant("standardised_fingerprint", "percent_0_to_100", "Every cell is between 0 and 100, none is NaN."),
    invariant(
        "standardised_fingerprint", "monotone_in_move", "A larger move is never more probable than a smaller one."
    ),
]


def _lookup_checks(asset: str) -> list[dg.AssetCheckSpec]:
    return [
        invariant(
            asset, "cells_complete", "Every (TTC, bucket) has its row; a row without evidence is NULL on both sides."
        ),
        invariant(asset, "percent_0_to_100", "Every stored cell is between 0 and 100 %."),
        invariant(asset, "monotone_in_move", "A strike further away is never more probable to be reached."),
        invariant(
            asset,
            "equals_interpolation_at_nodes",
            "Every stored cell equals the bilinear interpolation of its fingerprint.",
        ),
        warning(asset, "read_p95", f"95 of 100 reads of a row take under {LOOKUP_READ_SLO_MS:.0f} ms."),
    ]


LOOKUP = _lookup_checks("lookup")
STANDARDISED_LOOKUP = _lookup_checks("standardised_lookup")


CALIBRATION = [
    warning(
        "calibration",
        "no_band_is_off",
        "In no tenth of hours by volatility the champion is off by more than 3 points (|move| >= 0.5 % in 60 minutes).",
    ),
    warning(
        "calibration",
        "better_than_momentum",
        "The champion's Brier score is better than momentum's, with the whole 95 % interval over weeks.",
    ),
    warning("calibration", "no_drift", "The champion's skill is at most a point lower than in the run of a month ago."),
]


def results(checks: Iterable[CheckResult], asset: str) -> list[dg.AssetCheckResult]:
    """Verdicts as the results of an asset's checks."""
    return [
        dg.AssetCheckResult(
            passed=check.holds,
            check_name=check.name,
            asset_key=asset,
            metadata={
                "broken": check.broken,
                "of": check.total,
                **({"detail": check.worst} if check.worst else {}),
            },
        )
        for check in checks
    ]


def warn(asset: str, name: str, passed: bool, metadata: dict[str, float | str]) -> dg.AssetCheckResult:
    """Result of a check that stops nothing."""
    return dg.AssetCheckResult(
        passed=passed, check_name=name, asset_key=asset, severity=dg.AssetCheckSeverity.WARN, metadata=metadata
    )
