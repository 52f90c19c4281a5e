"""Accuracy of the lookup: its answers compared with the interpolation of its fingerprints."""

from collections.abc import Sequence

import numpy as np

from pipelines.domain.models import probability
from pipelines.domain.models.interpolation import interpolate_beyond
from pipelines.domain.monitoring.audit.measurements import Measurement, Measurements, Statistic, Unit
from pipelines.domain.prices.bars import SECONDS_PER_MINUTE
from pipelines.storage.models.champions import champion_generations
from pipelines.storage.models.generations import active_generation, read_version
from pipelines.storage.models.tables import read_fingerprints, read_lookup_rows
from pipelines.storage.postgres.connection import Connection

#: Strikes of a ladder, which one row answers.
STRIKES = 50
#: Points between an answer and none.
EVERYTHING = 100.0


def measure(connection: Connection, symbols: Sequence[str], ladders: int) -> Measurements:
    """Maximum and mean absolute difference, in points, over ladders of each published symbol.

    TTCs and moves are random, mostly between the nodes, so that the difference includes the rounding to hundredths of
    a percent and the steps of five seconds. Below a minute both read the same row, and nothing is compared.
    """
    found = Measurements()
    published = champion_generations(connection, symbols)
    if not published:
        found.add_gap("lookup accuracy", "no symbol has a published generation")
    for symbol in published:
        differences = tuple(_differences(connection, symbol, ladders))
        if not differences:
            found.add_gap(f"lookup accuracy of {symbol}", "the rows that were read are empty")
            continue
        found.items += [
            Measurement("lookup_difference", Unit.POINTS, statistic, differences, {"symbol": symbol})
            for statistic in (Statistic.MEAN, Statistic.MAX)
        ]
    return found


def _differences(connection: Connection, symbol: str, ladders: int) -> list[float]:
    """The maximum of each ladder; an answer that only one of the two has, or a missing row, is the full difference."""
    version = read_version(connection, active_generation(connection, symbol))
    fingerprints = read_fingerprints(connection, version)
    axes, rng = version.axes, np.random.default_rng(1)
    found = []
    for _ in range(ladders):
        bucket = int(rng.choice(version.buckets))
        ttc = float(rng.uniform(SECONDS_PER_MINUTE, version.ttc_max_seconds))
        positions, upward = rng.uniform(0, axes.axis_max, STRIKES), rng.random(STRIKES) < 0.5
        interpolated = [np.full(STRIKES, np.nan)] * 2
        if bucket in fingerprints.buckets:
            table = fingerprints.index(bucket)
            interpolated = [
                interpolate_beyond(side[table], fingerprints.nodes, ttc, positions, axes.profile)
                for side in (fingerprints.positive, fingerprints.negative)
            ]
        try:
            rows = read_lookup_rows(connection, version, bucket, ttc)
            answers = probability.from_lookup(rows, axes, ttc, positions, upward).beyond
        except KeyError:
            found.append(EVERYTHING)
            continue
        expected = np.where(upward, *interpolated)
        empty = np.isnan(answers) & np.isnan(expected)
        if not empty.all():
            differences = np.nan_to_num(np.abs(answers - expected), nan=EVERYTHING)
            found.append(float(differences[~empty].max()))
    return found
