"""The price files that benchmarks measure on: real ones where STRIKECAST_REAL_DATA names them, else generated ones."""

import argparse
import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.domain.prices import synthetic_bars as sample
from pipelines.service.builds import write_synthetic_bars

VARIABLE = "STRIKECAST_REAL_DATA"
ROOT = Path(__file__).parents[1]
SYMBOLS = ("BTC", "ETH")
#: Generated bars cover the five years of the real ones: 2021-07-17 to 2026-07-16.
DAYS = 1826
END = datetime(2026, 7, 17, tzinfo=UTC)


@dataclass(frozen=True)
class Prices:
    """A folder with btc_1m.parquet and eth_1m.parquet; `generated` when this module made them."""

    folder: Path
    generated: bool

    @property
    def source(self) -> str:
        """What a benchmark's output says about the bars."""
        return "measured on generated bars" if self.generated else f"measured on the bars of {self.folder}"

    def of(self, symbol: str) -> Path:
        """The file of a symbol."""
        return price_file(self.folder, symbol)


def price_file(folder: Path, symbol: str) -> Path:
    """The file of a symbol in a folder of price files."""
    return folder / f"{symbol.lower()}_1m.parquet"


def add_prices_option(parser: argparse.ArgumentParser) -> None:
    """`--prices FOLDER`; `chosen_prices` reads it."""
    parser.add_argument(
        "--prices",
        type=Path,
        metavar="FOLDER",
        help=f"has btc_1m.parquet and eth_1m.parquet; by default ${VARIABLE}/prices when the variable is set, "
        "else five years of generated bars, kept in .benchmarks/",
    )


def chosen_prices(arguments: argparse.Namespace, symbols: Sequence[str] = SYMBOLS) -> Prices:
    """The prices of the command line, else those of STRIKECAST_REAL_DATA, else generated ones.

    A relative path in STRIKECAST_REAL_DATA starts at the repository's root. Raises SystemExit with one line when a
    folder that was asked for lacks a file.
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
    """A folder of generated bars, about 15 seconds' work the first time; made anew when the generator has changed."""
    made_of = Path(sample.__file__).read_bytes() + Path(__file__).read_bytes()
    folder = ROOT / ".benchmarks" / f"prices-{hashlib.sha256(made_of).hexdigest()[:8]}"
    if not folder.is_dir():
        folder.parent.mkdir(exist_ok=True)
        print(f"generating five years of bars into {folder}", flush=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
            for symbol in SYMBOLS:
                write_synthetic_bars(symbol, DAYS, 1, END, price_file(Path(unfinished) / "prices", symbol))
            (Path(unfinished) / "prices").rename(folder)
    return folder
