"""Candles of an exchange, staged without a file."""

import json
from datetime import UTC, datetime, timedelta

from pipelines.ingestion.price_files import stage_candles

NOW = datetime(2025, 1, 1, 12, 0, 30, tzinfo=UTC)
START = datetime(2024, 12, 30, 23, 58, tzinfo=UTC)
FIRST = int(START.timestamp())


def test_candles_in_memory_are_validated_like_a_file_and_identified_by_their_content() -> None:
    candles = [
        (START, 100.0, 110.0, 90.0, 105.0, 1.5),
        (START + timedelta(minutes=1), 100.0, 80.0, 90.0, 105.0, 1.5),
        (START + timedelta(minutes=2), 100.0, 110.0, 90.0, float("nan"), 1.5),
        (NOW.replace(second=0), 100.0, 110.0, 90.0, 105.0, 1.5),
    ]
    digests = []
    for rows in (candles, candles, candles[:3]):
        with stage_candles("an exchange", rows, NOW) as bars:
            assert [block.minutes.tolist() for block in bars.blocks()] == [[FIRST // 60]]
            quarantined = list(bars.quarantined_rows())
        reasons = [(2, "bad_ohlc"), (3, "not_a_number"), (4, "still_forming")]
        assert [(row.source_row, row.reason) for row in quarantined] == reasons[: len(rows) - 1]
        assert {row.file_name for row in quarantined} == {"an exchange"}
        assert json.loads(quarantined[0].raw)["high"] == "80.0"
        digests.append(quarantined[0].file_sha256)
    assert digests[0] == digests[1] != digests[2]
