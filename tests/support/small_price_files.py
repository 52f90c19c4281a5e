"""Small price files as text, and what becomes of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipelines.domain.prices.bars import QuarantinedRow
from pipelines.ingestion.price_files import stage_price_files
from pipelines.ingestion.understanding import Expectation

NOW = datetime(2025, 1, 1, 12, 0, 30, tzinfo=UTC)
START = datetime(2024, 12, 30, 23, 58, tzinfo=UTC)
FIRST = int(START.timestamp())
HEADER = "timestamp,open,high,low,close,volume"
KLINE_END = ",1735603259999,123.4,12,1.0,2.0,0"


def iso(k: int) -> str:
    return f"{START + timedelta(minutes=k):%Y-%m-%d %H:%M:%S}"


def bar(k: int) -> str:
    """Values of bar k, identified by its close."""
    return f"100,110,90,{105 + k},1.5"


def table(times: Sequence[str], header: str = HEADER, end: str = "") -> str:
    lines = [*([header] if header else []), *(f"{time},{bar(k)}{end}" for k, time in enumerate(times))]
    return "\n".join(lines) + "\n"


THREE = table([iso(k) for k in range(3)])
QUOTED = "".join(",".join(f'"{field}"' for field in line.split(",")) + "\n" for line in THREE.splitlines())
MS = [str((FIRST + 60 * k) * 1000) for k in range(3)]


@dataclass(frozen=True)
class Staged:
    """Bars and quarantined rows of some files."""

    minutes: list[int]
    closes: list[float]
    quarantined: list[QuarantinedRow]

    @property
    def rows(self) -> list[tuple[int, str]]:
        return [(row.source_row, row.reason) for row in self.quarantined]


def stage(*paths: Path, now: datetime = NOW, memory_limit: str = "1GB") -> Staged:
    """Stage files as BTC's."""
    with stage_price_files(paths, now, Expectation("BTC"), memory_limit=memory_limit) as bars:
        blocks, quarantined = list(bars.blocks()), list(bars.quarantined_rows())
        assert sum(len(block.minutes) for block in blocks) == bars.accepted
        assert all(block.values.shape == (5, len(block.minutes)) for block in blocks)
        assert sum(bars.reasons.values()) == len(quarantined) == bars.quarantined
        minutes = [minute for block in blocks for minute in block.minutes.tolist()]
        return Staged(minutes, [close for block in blocks for close in block.values[3].tolist()], quarantined)


def written(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def padded(text: str, rows: int = 2_000) -> str:
    """More good rows, an hour after the others, so that single bad ones are a small share."""
    return text + "".join(f"{iso(k)},{bar(k % 5)}\n" for k in range(-rows - 60, -60))


def flipped(content: bytes, at: int, bits: int = 0xFF) -> bytes:
    return content[:at] + bytes([content[at] ^ bits]) + content[at:][1:]
