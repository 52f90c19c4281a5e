"""The lookup against what it stands for: answers read from it beside the interpolation of its fingerprints."""

from collections.abc import Sequence

import numpy as np

from pipelines.domain.models.interpolation import interpolate_beyond
from pipelines.domain.models.lookup import read_ladder
from pipelines.domain.monitoring.audit.measurements import Figure, Gap, Measured, Statistic, Unit
from pipelines.domain.prices.bars import SECONDS_PER_MINUTE
from pipelines.errors import StrikecastError
from pipelines.storage.models.champions import champion_generations
from pipelines.storage.models.generations import active_generation, read_version
from pipelines.storage.models.tables import read_fingerprints, read_lookup_rows
from pipelines.storage.monitoring.server_statistics import refused
from pipelines.storage.postgres.connection import Connection

#: Strikes of one ladder, which one row answers.
STRIKES = 50
#: Points between one answer and none.
EVERYTHING = 100.0


def measure(connection: Connection, symbols: Sequence[str], ladders: int) -> Measured:
    """Largest and mean absolute difference of so many ladders of each published symbol, in points.

    At random TTCs and moves, most of them between the nodes: what the rounding to hundredths and the steps of five
    seconds cost. Below a minute both read the same row, and nothing is compared.
    """
    figures: list[Figure] = []
    gaps: list[Gap] = []
    published = champion_generations(connection, symbols)
    if not published:
        gaps.append(Gap("lookup against interpolation", "no symbol has a published generation"))
    for symbol in published:
        try:
            with refused():
                differences = _differences(connection, symbol, ladders)
        except StrikecastError as error:
            gaps.append(Gap(f"lookup of {symbol} against interpolation", str(error)))
            continue
        if not differences:
            gaps.append(Gap(f"lookup of {symbol} against interpolation", "no row that was looked at has evidence"))
            continue
        figures += [
            Figure("lookup_difference", Unit.POINTS, statistic, tuple(differences), {"symbol": symbol})
            for statistic in (Statistic.MEAN, Statistic.LARGEST)
        ]
    return Measured(tuple(figures), tuple(gaps))


def _differences(connection: Connection, symbol: str, ladders: int) -> list[float]:
    """The largest of each ladder. What only one of the two has differs by all there is; so does a row that is gone."""
    version = read_version(connection, active_generation(connection, symbol))
    fingerprints = read_fingerprints(connection, version)
    axes, rng = version.axes, np.random.default_rng(1)
    found = []
    for _ in range(ladders):
        bucket = int(rng.choice(version.buckets))
        ttc = float(rng.uniform(SECONDS_PER_MINUTE, version.ttc_max_seconds))
        positions, upward = rng.uniform(0, axes.axis_max, STRIKES), rng.random(STRIKES) < 0.5
        rows = read_lookup_rows(connection, version, bucket, ttc)
        direct = [np.full(STRIKES, np.nan)] * 2
        if bucket in fingerprints.buckets:
            table = fingerprints.index(bucket)
            direct = [
                interpolate_beyond(side[table], fingerprints.nodes, ttc, positions, axes.profile)
                for side in (fingerprints.positive, fingerprints.negative)
            ]
        try:
            read = read_ladder(rows, axes, ttc, positions, upward).beyond
        except KeyError:
            found.append(EVERYTHING)
            continue
        wanted = np.where(upward, *direct)
        neither = np.isnan(read) & np.isnan(wanted)
        if not neither.all():
            apart = np.nan_to_num(np.abs(read - wanted), nan=EVERYTHING)
            found.append(float(apart[~neither].max()))
    return found
