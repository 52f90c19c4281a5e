"""Seeded noise without state: a number depends on a key and a counter, not on what was asked before."""

from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from pipelines.domain.prices.bars import Floats, Ints

Counters = npt.NDArray[np.uint64]


def key_of(seed: int, *names: object) -> int:
    """The key of what is named: 64 bits."""
    text = "\x1f".join(map(str, (seed, *names)))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def uniforms(key: int, counters: Ints) -> Floats:
    """Independent numbers from 0 (included) to 1 (excluded), one for each counter: float64[n]."""
    return (_mixed(key, counters) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def uniform(key: int, counter: int = 0) -> float:
    """One number of `uniforms`."""
    return float(uniforms(key, np.array([counter]))[0])


def normals(key: int, counters: Ints) -> Floats:
    """Independent standard normal numbers, one for each counter: float64[n] (Box and Muller)."""
    radius = np.sqrt(-2.0 * np.log1p(-uniforms(key, 2 * counters)))
    return radius * np.cos(2.0 * np.pi * uniforms(key, 2 * counters + 1))


def drift(key: int, at_ms: Ints, knot_ms: int) -> Floats:
    """Normal numbers at whole multiples of `knot_ms`, with straight lines between them: float64[n]."""
    knots, rest = np.divmod(at_ms, knot_ms)
    share = rest / knot_ms
    return (1.0 - share) * normals(key, knots) + share * normals(key, knots + 1)


def _mixed(key: int, counters: Ints) -> Counters:
    """The finaliser of SplitMix64 on key + counter times the golden ratio; it wraps at 64 bits."""
    state = np.uint64(key) + np.asarray(counters).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Counters = state ^ (state >> np.uint64(31))
    return mixed
