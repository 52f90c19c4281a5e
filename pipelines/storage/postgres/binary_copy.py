"""Encode and decode PostgreSQL's binary COPY format with numpy arrays (timings in docs/benchmarks.md).

Binary COPY does not cast, so each column has a PostgreSQL type. All rows of a block have the same width, so a block is
one structured numpy array, without a Python loop over rows.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import LiteralString

import numpy as np
import numpy.typing as npt
from psycopg import Copy, sql
from psycopg.copy import QueuedLibpqWriter

from pipelines.storage.postgres.connection import Connection

HEADER = b"PGCOPY\n\xff\r\n\x00" + b"\x00" * 8
TRAILER = b"\xff\xff"
#: PostgreSQL's epoch is 2000-01-01.
EPOCH_2000_MINUTES = 946_684_800 // 60
MICROSECONDS_PER_MINUTE = 60_000_000
#: Dimensions, flags, element type, length, lower bound.
ARRAY_HEADER_INTS = 5


@dataclass(frozen=True)
class Column:
    """A column of a block: `values` are n items of the unpadded dtype `payload`."""

    payload: np.dtype[np.void] | np.dtype[np.generic]
    values: npt.NDArray[np.generic]


def _column(payload: str, values: npt.ArrayLike) -> Column:
    return Column(np.dtype(payload), np.asarray(values).astype(payload))


def _array_column(oid: int, element: str, values: npt.ArrayLike) -> Column:
    """An array column of values[n, k], with the element type's oid: one dimension from 1 to k, no NULLs."""
    n, k = np.shape(values)
    header = [(name, ">i4") for name in ("ndim", "has_null", "oid", "dim", "lower")]
    payload = np.dtype([*header, ("items", [("length", ">i4"), ("value", element)], (k,))])
    arrays = np.empty(n, dtype=payload)
    arrays["ndim"], arrays["has_null"], arrays["oid"], arrays["dim"], arrays["lower"] = 1, 0, oid, k, 1
    arrays["items"]["length"], arrays["items"]["value"] = np.dtype(element).itemsize, values
    return Column(payload, arrays)


#: Columns of smallint, integer, bigint, real and double precision.
int2 = partial(_column, ">i2")
int4 = partial(_column, ">i4")
int8 = partial(_column, ">i8")
float4 = partial(_column, ">f4")
float8 = partial(_column, ">f8")
#: Columns of smallint[], real[] and double precision[].
int2_array = partial(_array_column, 21, ">i2")
float4_array = partial(_array_column, 700, ">f4")
float8_array = partial(_array_column, 701, ">f8")


@contextmanager
def open_copy(connection: Connection, statement: LiteralString | sql.Composed) -> Iterator[Copy]:
    """Run a binary COPY FROM STDIN; the caller writes the blocks of `encode_rows`.

    A thread sends each block while the caller encodes the next one.
    """
    cursor = connection.cursor()
    with cursor.copy(statement, writer=QueuedLibpqWriter(cursor)) as copy:
        copy.write(HEADER)
        yield copy
        copy.write(TRAILER)


def date_of_days(days: npt.NDArray[np.int64]) -> Column:
    """A date column from days since 1970-01-01."""
    return int4(days - EPOCH_2000_MINUTES // 1440)


def timestamptz_of_minutes(minutes: npt.NDArray[np.int64]) -> Column:
    """A timestamptz column from minutes since 1970-01-01 UTC."""
    return int8((minutes - EPOCH_2000_MINUTES) * MICROSECONDS_PER_MINUTE)


def text_constant(value: str, n: int) -> Column:
    """A text column that repeats one value."""
    encoded = value.encode()
    return Column(np.dtype(f"V{len(encoded)}"), np.full(n, np.void(encoded)))


def encode_rows(columns: Sequence[Column | None]) -> bytes:
    """Encode the rows of a block, without header and trailer; None is a column of NULLs."""
    fields: list[tuple[str, np.dtype[np.generic]] | tuple[str, str]] = [("count", ">i2")]
    for i, column in enumerate(columns):
        fields.append((f"length{i}", ">i4"))
        if column is not None:
            fields.append((f"value{i}", column.payload))
    n = next(len(column.values) for column in columns if column is not None)
    rows = np.empty(n, dtype=np.dtype(fields))
    rows["count"] = len(columns)
    for i, column in enumerate(columns):
        rows[f"length{i}"] = -1 if column is None else column.payload.itemsize
        if column is not None:
            rows[f"value{i}"] = column.values
    return rows.tobytes()


def decode_array(data: bytes | None, payload: str) -> npt.NDArray[np.generic]:
    """Decode a one-dimensional binary array without NULLs, whose elements have the dtype `payload`; None is empty.

    Reading an `array_agg` is twice as fast as reading rows: no message and no Python object per row.
    Raises ValueError when the data has another shape.
    """
    if data is None:
        return np.empty(0, dtype=payload)
    header = np.frombuffer(data, dtype=">i4", count=ARRAY_HEADER_INTS)
    element = np.dtype([("length", ">i4"), ("value", payload)])
    body = len(data) - header.nbytes
    if header[0] != 1 or header[1] != 0 or body != int(header[3]) * element.itemsize:
        raise ValueError(f"{len(data)} bytes are not an array of {payload} without NULLs")
    elements = np.frombuffer(data, dtype=element, offset=header.nbytes)
    return np.asarray(elements["value"])


def stack_arrays(arrays: Sequence[bytes | None], payload: str, missing: int) -> npt.NDArray[np.generic]:
    """Decode n binary arrays of k elements as [n, k]; a NULL array becomes a row of `missing`."""
    element = np.dtype([("length", ">i4"), ("value", payload)])
    header = np.dtype(("V", ARRAY_HEADER_INTS * 4))
    width = max((len(array) - header.itemsize for array in arrays if array is not None), default=element.itemsize)
    row = np.dtype([("header", header), ("elements", element, (width // element.itemsize,))])
    null = bytes(header.itemsize) + np.array([(0, missing)] * (width // element.itemsize), dtype=element).tobytes()
    data = b"".join(null if array is None else array for array in arrays)
    return np.asarray(np.frombuffer(data, dtype=row)["elements"]["value"])


def minutes_of_timestamptz(values: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """Minutes since 1970-01-01 UTC of a timestamptz column's payload."""
    return values.astype(np.int64) // MICROSECONDS_PER_MINUTE + EPOCH_2000_MINUTES
