"""What goes wrong on the simulated exchange: pauses, halts, early closes and voids, by seed and ticker."""

from dataclasses import dataclass

from pipelines.domain.markets.settlement import MS_PER_SECOND
from pipelines.markets.simulation.noise import key_of, uniform

MS_PER_HOUR = 3_600_000
#: Seconds that trading is paused, and that a market is inactive.
PAUSE_SECONDS = (5, 45)
HALT_SECONDS = (20, 120)
#: An event that closes early is open for at least this long.
LEAST_LIFE_MS = 120_000


@dataclass(frozen=True)
class Incidents:
    """Probabilities. With 1 it happens each time, with 0 never.

    `pause`: that trading on the whole exchange is paused within an hour; `halt`: that a market is inactive for a time;
    `early_close`: that an event closes before its time; `void`: that a market is voided.
    """

    pause: float = 0.02
    halt: float = 0.005
    early_close: float = 0.003
    void: float = 0.001

    def pause_in(self, seed: int, hour: int) -> tuple[int, int] | None:
        """The pause within an hour since 1970 UTC, from and until, milliseconds."""
        return self._window(self.pause, key_of(seed, "pause", hour), hour * MS_PER_HOUR, MS_PER_HOUR, PAUSE_SECONDS)

    def halt_of(self, seed: int, market: str, opens_ms: int, closes_ms: int) -> tuple[int, int] | None:
        """When a market is inactive, from and until, milliseconds since 1970; at the latest until its close."""
        return self._window(self.halt, key_of(seed, "halt", market), opens_ms, closes_ms - opens_ms, HALT_SECONDS)

    def early_close_of(self, seed: int, event: str, opens_ms: int, closes_ms: int) -> int | None:
        """When an event closes instead of its scheduled close, milliseconds since 1970, a whole second."""
        key, left = key_of(seed, "early close", event), closes_ms - opens_ms - LEAST_LIFE_MS
        if uniform(key) >= self.early_close or left <= 0:
            return None
        seconds = int(uniform(key, 1) * left) // MS_PER_SECOND
        return opens_ms + LEAST_LIFE_MS + seconds * MS_PER_SECOND

    def is_void(self, seed: int, market: str) -> bool:
        """Whether a market is voided instead of settled."""
        return uniform(key_of(seed, "void", market)) < self.void

    @staticmethod
    def _window(
        probability: float, key: int, begin_ms: int, duration_ms: int, seconds: tuple[int, int]
    ) -> tuple[int, int] | None:
        if uniform(key) >= probability:
            return None
        length = (seconds[0] + int(uniform(key, 1) * (seconds[1] - seconds[0] + 1))) * MS_PER_SECOND
        latest = max(duration_ms - length, 0) // MS_PER_SECOND
        start = begin_ms + int(uniform(key, 2) * (latest + 1)) * MS_PER_SECOND
        return start, min(start + length, begin_ms + duration_ms)


#: An exchange on which nothing goes wrong.
CALM = Incidents(0.0, 0.0, 0.0, 0.0)
