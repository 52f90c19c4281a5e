"""Price files for benchmarks: those of STRIKECAST_REAL_DATA if it is set, otherwise synthetic bars."""

import argparse
import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.domain.prices import synthetic_bars
from pipelines.service.builds import write_synthetic_bars

VARIABLE = "STRIKECAST_REAL_DATA"
ROOT = Path(__file__).parents[1]
SYMBOLS = ("BTC", "ETH")
#: Synthetic bars cover the range of the real ones: 2021-07-17 to 2026-07-16.
DAYS = 1826
END = datetime(2026, 7, 17, tzinfo=UTC)


@dataclass(frozen=True)
class Prices:
    """A folder with btc_1m.parquet and eth_1m.parquet; `generated` for synthetic bars of this module."""

    folder: Path
    generated: bool

    @property
    def source(self) -> str:
        """Origin of the bars, for a benchmark's output."""
        return "measured on generated bars" if self.generated else f"measured on the bars of {self.folder}"

    def of(self, symbol: str) -> Path:
        """Path of a symbol's file."""
        return price_file(self.folder, symbol)


def price_file(folder: Path, symbol: str) -> Path:
    """Path of a symbol's file in a folder of price files."""
    return folder / f"{symbol.lower()}_1m.parquet"


def add_prices_option(parser: argparse.ArgumentParser) -> None:
    """Add the option `--prices FOLDER`, which `chosen_prices` reads."""
    parser.add_argument(
        "--prices",
        type=Path,
        metavar="FOLDER",
        help=f"has btc_1m.parquet and eth_1m.parquet; by default ${VARIABLE}/prices when the variable is set, "
        "else five years of generated bars, kept in .benchmarks/",
    )


def chosen_prices(arguments: argparse.Namespace, symbols: Sequence[str] = SYMBOLS) -> Prices:
    """The prices of the command line, otherwise of STRIKECAST_REAL_DATA, otherwise synthetic bars.

    A relative STRIKECAST_REAL_DATA is relative to the repository's root. Raises SystemExit with one line when a file is
    missing.
    """
    setting = os.environ.get(VARIABLE)
    folder: Path | None = arguments.prices or ((ROOT / setting / "prices").resolve() if setting else None)
    if folder is None:
        return Prices(generated_prices(), generated=True)
    for symbol in symbols:
        if not price_file(folder, symbol).is_file():
            raise SystemExit(f"{price_file(folder, symbol)} is missing: see --prices and {VARIABLE}")
    return Prices(folder, generated=False)


def generated_prices() -> Path:
    """A folder of synthetic bars, generated in about 15 seconds and again after a change of the generator."""
    made_of = Path(synthetic_bars.__file__).read_bytes() + Path(__file__).read_bytes()
    folder = ROOT / ".benchmarks" / f"prices-{hashlib.sha256(made_of).hexdigest()[:8]}"
    if not folder.is_dir():
        folder.parent.mkdir(exist_ok=True)
        print(f"generating five years of bars into {folder}", flush=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
            for symbol in SYMBOLS:
                write_synthetic_bars(symbol, DAYS, 1, END, price_file(Path(unfinished) / "prices", symbol))
            (Path(unfinished) / "prices").rename(folder)
    return folder
