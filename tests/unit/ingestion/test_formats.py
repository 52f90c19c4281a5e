"""Every format that people have is read without an option, with its right bars."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from price_file_formats import FORMATS, sample_bars, write_format

from pipelines.ingestion.price_files import stage_price_files
from pipelines.ingestion.understanding import Expectation

NOW = datetime(2026, 1, 1, tzinfo=UTC)
#: Month/day and day/month can only be told apart by days after the 12th.
LATE_IN_JANUARY = {"FirstRate, date and time", "American dates"}


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_read_with_its_first_last_and_count(tmp_path: Path, name: str) -> None:
    first = datetime(2024, 1, 18 if name in LATE_IN_JANUARY else 2, tzinfo=UTC)
    bars = sample_bars(first=first)
    path = write_format(tmp_path, name, bars)
    with stage_price_files([path], NOW, Expectation("BTC", known_symbols=("BTC", "ETH"))) as staged:
        blocks = list(staged.blocks())
        summary = staged.summaries[0]
    assert (staged.accepted, staged.quarantined) == (len(bars), 0)
    assert (summary.first_bar, summary.last_bar, summary.bars) == (bars[0].at, bars[-1].at, len(bars))
    assert [int(minute) * 60 for minute in blocks[0].minutes] == [bar.seconds for bar in bars]
    tolerance = 1e-6 if "32" in name else 0  # only the volume: prices get their own digits back
    np.testing.assert_allclose(blocks[0].values, np.array([bar.values for bar in bars]).T, rtol=tolerance)
    np.testing.assert_array_equal(blocks[0].values[:4], np.array([bar.values[:4] for bar in bars]).T)
