"""Long answers are read in slices, between which other work goes on."""

import asyncio
import json
from decimal import Decimal
from typing import Any

from market_feeds import ladder
from market_messages import EVENT

from pipelines.markets.slices import STEPS, finish_in_slices
from pipelines.markets.wire import reading_event, reading_events, reading_listings


def parsed(*arguments: Any) -> Any:
    """An event as the client parses it."""
    return json.loads(json.dumps(ladder(*arguments)), parse_float=Decimal)


def test_each_market_of_an_answer_is_a_step() -> None:
    event = parsed(EVENT, "09:00", "10:00", 60)
    assert len(list(reading_listings(event["markets"]))) == 60
    assert len(list(reading_event({"event": event}, EVENT))) == 60
    assert len(list(reading_events([event, parsed("KXBTCD-26MAR2107", "10:00", "11:00", 40)]))) == 100


def test_other_work_goes_on_while_events_are_read() -> None:
    async def run() -> None:
        reading = asyncio.create_task(finish_in_slices(reading_events([parsed(EVENT, "09:00", "10:00", 4 * STEPS)])))
        turns = 0
        while not reading.done():
            await asyncio.sleep(0)
            turns += 1
        events, refused = reading.result()
        assert (len(events[0].markets.listings), refused) == (4 * STEPS, ())
        assert turns >= 4

    asyncio.run(run())
