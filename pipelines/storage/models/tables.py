"""Fingerprints and lookup of a generation."""

import hashlib
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from psycopg import sql
from psycopg.pq.abc import PGresult

from pipelines.domain.models.fingerprint import FingerprintSet
from pipelines.domain.models.invariants import CheckResult, check_lookup_block, largest_difference
from pipelines.domain.models.lookup import (
    MISSING,
    Hundredths,
    LookupAxes,
    LookupBlock,
    LookupRow,
    build_lookup_block,
)
from pipelines.domain.models.uncertainty import Uncertainty
from pipelines.domain.prices.bars import Floats
from pipelines.errors import NoDataError
from pipelines.storage.models.generations import ModelVersion
from pipelines.storage.postgres import binary_copy
from pipelines.storage.postgres.connection import AsyncPool, Connection
from pipelines.storage.postgres.statements import Statements, read_value

SQL = Statements(__name__)

Bools = npt.NDArray[np.bool_]
#: Means "unknown" in `n` and `n_eff` of imported tables.
UNKNOWN = -1


@dataclass(frozen=True)
class LookupReport:
    """Size of a stored lookup: rows, cells with data, SHA-256 of its arrays, bytes on disk with index."""

    rows: int
    cells: int
    sha256: str
    bytes_on_disk: int


def write_fingerprints(connection: Connection, generation: int, fingerprints: FingerprintSet) -> int:
    """Store a generation's fingerprints; needs a transaction. Returns the number of rows."""
    with binary_copy.open_copy(connection, SQL["copy_fingerprints_in"]) as copy:
        for table in range(len(fingerprints.buckets)):
            for part in _horizons_by_nulls(fingerprints, table):
                copy.write(_encode_fingerprints(generation, fingerprints, table, part))
    rows = len(fingerprints.buckets) * fingerprints.horizons
    connection.execute(SQL["record_fingerprints"], {"generation": generation, "rows": rows})
    return rows


def _horizons_by_nulls(fingerprints: FingerprintSet, table: int) -> list[Bools]:
    """Masks of the horizons with the same NULL columns; all rows of a block must have the same width."""
    filled = np.stack(
        [
            ~np.isnan(fingerprints.positive[table]).any(axis=1),
            ~np.isnan(fingerprints.negative[table]).any(axis=1),
            fingerprints.n[table] != UNKNOWN,
        ]
    )
    kinds = np.unique(filled, axis=1)
    return [(filled == kinds[:, [kind]]).all(axis=0) for kind in range(kinds.shape[1])]


def _encode_fingerprints(generation: int, fingerprints: FingerprintSet, table: int, part: Bools) -> bytes:
    n, bucket, uncertainty = int(part.sum()), fingerprints.buckets[table], fingerprints.uncertainty
    positive, negative = fingerprints.positive[table, part], fingerprints.negative[table, part]
    known = fingerprints.n[table, part][0] != UNKNOWN
    independent = (None, None) if uncertainty is None else (uncertainty.positive[table], uncertainty.negative[table])
    return binary_copy.encode_rows(
        [
            binary_copy.int4(np.full(n, generation)),
            None if bucket is None else binary_copy.int2(np.full(n, bucket)),
            binary_copy.int2(np.flatnonzero(part) + 1),
            None if np.isnan(positive[0]).any() else binary_copy.float8_array(positive),
            None if np.isnan(negative[0]).any() else binary_copy.float8_array(negative),
            binary_copy.int8(fingerprints.n[table, part]) if known else None,
            binary_copy.float8(fingerprints.n_eff[table, part]) if known else None,
            *(None if side is None else binary_copy.float4_array(side[part]) for side in independent),
        ]
    )


def read_fingerprints(connection: Connection, version: ModelVersion, *, baseline_only: bool = False) -> FingerprintSet:
    """A generation's fingerprints, baseline first. Raises NoDataError when there are none."""
    name = "baseline_fingerprint" if baseline_only else "fingerprints"
    rows = connection.execute(SQL[name], [version.generation]).fetchall()
    if not rows:
        raise NoDataError(f"generation {version.generation} of {version.symbol} has no fingerprints")
    buckets = tuple(dict.fromkeys(row[0] for row in rows))
    shape = (len(buckets), len(rows) // len(buckets))
    nodes = tuple(version.nodes)
    positive, negative = (_stacked([row[side] for row in rows], len(nodes)).reshape(*shape, -1) for side in (2, 3))
    n = np.array([UNKNOWN if row[4] is None else row[4] for row in rows], dtype=np.int64).reshape(shape)
    n_eff = np.array([UNKNOWN if row[5] is None else row[5] for row in rows], dtype=np.float64).reshape(shape)
    uncertainty = None
    width = next((len(row[6]) for row in rows if row[6] is not None), None)
    if version.uncertainty_step is not None and width is not None:
        independent = (_stacked([row[side] for row in rows], width).reshape(*shape, -1) for side in (6, 7))
        uncertainty = Uncertainty(version.uncertainty_step, *independent)
    return FingerprintSet(buckets, nodes, positive, negative, n, n_eff, uncertainty)


def write_lookup(
    connection: Connection, generation: int, blocks: Iterable[LookupBlock], axes: LookupAxes
) -> LookupReport:
    """Store a generation's lookup in its own partition; needs a transaction.

    The partition is loaded and indexed before it is attached, so that readers of other generations never wait.
    """
    ttcs = np.array(axes.ttcs_seconds)
    rows = cells = 0
    digest = hashlib.sha256()
    connection.execute(SQL["create_lookup_table"], [generation])
    statement = sql.SQL(SQL["copy_lookup_in"]).format(table=sql.Identifier("analytics", f"lookup_{generation}"))
    with binary_copy.open_copy(connection, statement) as copy:
        for block in blocks:
            digest.update(block.within_positive.astype("<i2").tobytes())
            digest.update(block.within_negative.astype("<i2").tobytes())
            for part, with_data in ((block.has_data, True), (~block.has_data, False)):
                if part.any():
                    copy.write(_encode_block(generation, block, ttcs[part], part, with_data=with_data))
            rows += len(ttcs)
            cells += int(block.has_data.sum()) * block.within_positive.shape[1]
    connection.execute(SQL["attach_lookup_table"], [generation])
    connection.execute(SQL["record_lookup"], {"generation": generation, "rows": rows, "sha256": digest.hexdigest()})
    size = read_value(connection, SQL["lookup_size"], [generation])
    return LookupReport(rows, cells, digest.hexdigest(), int(size))


def _encode_block(generation: int, block: LookupBlock, ttcs: np.ndarray, part: np.ndarray, *, with_data: bool) -> bytes:
    keys = [
        binary_copy.int4(np.full(len(ttcs), generation)),
        binary_copy.int2(ttcs),
        binary_copy.int2(np.full(len(ttcs), block.bucket)),
        binary_copy.float4(block.n_eff[part]),
    ]
    if not with_data:
        return binary_copy.encode_rows([*keys, None, None, None, None])
    sides = [binary_copy.int2_array(block.within_positive[part]), binary_copy.int2_array(block.within_negative[part])]
    independent = [
        None if side is None else binary_copy.float4_array(side[part])
        for side in (block.independent_positive, block.independent_negative)
    ]
    return binary_copy.encode_rows([*keys, *sides, *independent])


def read_lookup_block(connection: Connection, generation: int, bucket: int) -> LookupBlock:
    """The stored lookup of one bucket. Raises NoDataError when there is none."""
    result = connection.cursor(binary=True).execute(SQL["lookup_bucket"], [generation, bucket]).pgresult
    assert result is not None
    if not result.ntuples:
        raise NoDataError(f"generation {generation} has no lookup rows for bucket {bucket}")
    # Whole columns at once: 17 million numbers as Python lists take ten times as long.
    columns = [[result.get_value(row, column) for row in range(result.ntuples)] for column in range(3)]
    positive, negative = (binary_copy.stack_arrays(side, ">i2", MISSING).astype(np.int16) for side in columns[:2])
    n_eff = np.frombuffer(b"".join(data or b"" for data in columns[2]), dtype=">f4")
    return LookupBlock(bucket, positive, negative, n_eff.astype(np.float64))


def verify_lookup(
    connection: Connection, generation: int, fingerprints: FingerprintSet, axes: LookupAxes
) -> list[CheckResult]:
    """Read a stored lookup back and compare every cell with its fingerprints."""
    failed, incomplete, differing = np.zeros(3, dtype=np.int64), 0, 0
    largest = 0.0
    for bucket in axes.buckets:
        expected = build_lookup_block(fingerprints, bucket, axes)
        stored = read_lookup_block(connection, generation, bucket)
        failed += check_lookup_block(stored)
        incomplete += abs(len(stored.n_eff) - len(expected.n_eff))
        difference = largest_difference(stored, expected)
        differing += int(difference > 0.0)
        largest = max(largest, difference)
    outside, falls, partial = failed.tolist()
    cells = 2 * axes.cells
    return [
        CheckResult("cells_complete", partial + incomplete, cells, f"{axes.rows} rows expected"),
        CheckResult("percent_0_to_100", outside, cells),
        CheckResult("monotone_in_move", falls, cells),
        CheckResult(
            "equals_interpolation_at_nodes", differing, len(axes.buckets), f"largest difference {largest} points"
        ),
    ]


def time_lookup_reads(connection: Connection, version: ModelVersion, reads: int) -> list[float]:
    """Durations in seconds of `reads` reads of a ladder's rows, spread over the lookup."""
    rng = np.random.default_rng(version.generation)
    seconds = []
    for _ in range(reads):
        bucket = int(rng.choice(version.buckets))
        ttc = float(rng.uniform(0, version.ttc_max_seconds))
        started = time.perf_counter()
        read_lookup_rows(connection, version, bucket, ttc)
        seconds.append(time.perf_counter() - started)
    return seconds


def read_lookup_rows(
    connection: Connection, version: ModelVersion, bucket: int, ttc_seconds: float
) -> dict[int, LookupRow]:
    """The rows for an answer at `ttc_seconds`, by TTC."""
    parameters = lookup_parameters(version.generation, bucket, version.axes, ttc_seconds)
    return lookup_rows(connection.execute(SQL["lookup_rows"], parameters, prepare=True, binary=True).pgresult)


async def read_lookup_rows_async(
    pool: AsyncPool, generation: int, bucket: int, axes: LookupAxes, ttc_seconds: float, ahead_seconds: int
) -> dict[int, LookupRow]:
    """As `read_lookup_rows` through a pool, including the rows for the next `ahead_seconds`."""
    parameters = lookup_parameters(generation, bucket, axes, ttc_seconds, ahead_seconds)
    async with pool.connection() as connection:
        cursor = await connection.execute(SQL["lookup_rows"], parameters, prepare=True, binary=True)
    return lookup_rows(cursor.pgresult)


def lookup_parameters(
    generation: int, bucket: int, axes: LookupAxes, ttc_seconds: float, ahead_seconds: int = 0
) -> tuple[int, int, int, int]:
    """Parameters of the statement `lookup_rows` for answers at `ttc_seconds` and up to `ahead_seconds` later."""
    lower, upper = axes.nodes_around(ttc_seconds)
    return generation, bucket, max(0, lower - ahead_seconds), upper


def lookup_rows(result: PGresult | None) -> dict[int, LookupRow]:
    """Rows of the binary result of the statement `lookup_rows` by TTC, in a tenth of the time of Python lists."""
    assert result is not None
    rows = {}
    for row in range(result.ntuples):
        ttc_data, positive, negative, n_eff, *uncertainty = (result.get_value(row, column) for column in range(6))
        assert ttc_data is not None
        assert n_eff is not None
        ttc = int.from_bytes(ttc_data, "big", signed=True)
        independent = (
            None if side is None else binary_copy.decode_array(side, ">f4").astype(np.float32) for side in uncertainty
        )
        n_eff_value = float(struct.unpack("!f", n_eff)[0])
        rows[ttc] = LookupRow(ttc, _hundredths(positive), _hundredths(negative), n_eff_value, *independent)
    return rows


def _hundredths(data: bytes | None) -> Hundredths | None:
    return None if data is None else binary_copy.decode_array(data, ">i2").astype(np.int16)


def _stacked(arrays: list[list[float] | None], width: int) -> Floats:
    empty = [np.nan] * width
    return np.array([empty if array is None else array for array in arrays], dtype=np.float64)
