"""The reader of a probability file assesses it by its own clock."""

import doctest
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sample_ladders import ladder, write_ladder

from pipelines.domain.models import freshness
from pipelines.domain.models.freshness import Status
from pipelines.domain.models.ladder import payload_without_answers
from pipelines.domain.prices.ticks import REPLAY, Tick
from pipelines.live import probability_reader
from pipelines.live.probability_reader import View, basis_text, first_with_price, read_view, settlement_text, view_of

NOW = datetime(2026, 3, 4, 10, 47, 26, tzinfo=UTC)


def assess(payload: dict[str, Any], after_seconds: float = 0.0) -> View:
    return view_of("BTC", orjson.dumps(payload), NOW + timedelta(seconds=after_seconds))


def test_a_new_file_is_ok_with_ages_by_the_readers_clock() -> None:
    view = assess(ladder(95_100.0, NOW), 0.5)
    assert (view.status, view.reasons) == (Status.OK, ())
    assert (view.file_age_seconds, view.price_age_seconds, view.ttc_seconds) == (0.5, 0.5, 754)


def test_a_file_that_is_not_written_never_looks_fresh() -> None:
    payload = ladder(95_100.0, NOW)
    assert payload["status"] == "ok"
    assert assess(payload, 2.0).status is Status.OK
    late = assess(payload, 2.5)
    assert (late.status, late.reasons) == (Status.STALE, ("the file is 2.5 s old", "the price is 2.5 s old"))
    dead = assess(payload, 65.0)
    assert (dead.status, dead.reasons) == (Status.UNWRITTEN, ("the file is not being written: it is 65 s old",))


def test_an_old_price_in_a_new_file_is_stale() -> None:
    view = assess(ladder(95_100.0, NOW, price_at=NOW - timedelta(seconds=9)))
    assert (view.status, view.reasons) == (Status.STALE, ("the price is 9.0 s old",))


def test_a_file_from_the_future_has_no_known_age() -> None:
    view = assess(ladder(95_100.0, NOW), -60.0)
    assert view.status is Status.STALE
    assert view.reasons[0] == "the file is 60 s ahead of this clock: its age is not known"


def test_the_last_file_of_a_session_is_stale_at_once() -> None:
    view = assess({**ladder(95_100.0, NOW), "status": "stale"})
    assert (view.status, view.reasons) == (Status.STALE, ("its session will not refresh it",))


def test_reasons_in_the_file_are_kept() -> None:
    payload = ladder(95_100.0, NOW, problems=["momentum is not known"])
    assert (assess(payload).status, assess(payload).reasons) == (Status.DEGRADED, ("momentum is not known",))
    assert assess(payload, 3.0).reasons[-1] == "momentum is not known"


def test_an_unknown_status_is_not_ok() -> None:
    assert assess({**ladder(95_100.0, NOW), "status": "splendid"}).status is Status.DEGRADED


def test_additional_fields_are_ignored() -> None:
    assert assess({**ladder(95_100.0, NOW), "session": 12}).status is Status.OK


def test_the_time_to_close_ends_at_zero() -> None:
    assert assess(ladder(95_100.0, NOW), 7_200.0).ttc_seconds == 0


def test_the_probability_of_closing_at_or_above_falls_with_the_strike_and_lies_in_its_interval() -> None:
    rungs = assess(ladder(95_100.0, NOW)).rungs
    assert [rung.strike for rung in rungs] == sorted((rung.strike for rung in rungs), reverse=True)
    probabilities = [rung.at_or_above for rung in rungs if rung.at_or_above is not None]
    assert len(probabilities) == 21
    assert probabilities == sorted(probabilities)
    assert probabilities[0] < 5
    assert probabilities[-1] > 95
    for rung in rungs:
        assert rung.low is not None
        assert rung.high is not None
        assert rung.at_or_above is not None
        assert rung.below is not None
        assert rung.low < rung.at_or_above < rung.high
        assert rung.at_or_above + rung.below == pytest.approx(100)
        assert (rung.move_pct > 0) == (rung.strike > 95_100)


def test_strikes_without_an_answer_stay_in_the_ladder() -> None:
    view = assess(ladder(95_100.0, NOW, known=False))
    assert [rung.at_or_above for rung in view.rungs] == [None] * 21
    assert view.status is Status.DEGRADED


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"7", b'{"timestamp": 7}'])
def test_a_file_of_another_kind_is_unreadable(content: bytes) -> None:
    view = view_of("BTC", content, NOW)
    assert view.status is Status.UNREADABLE
    assert view.payload is None
    assert "is not a probability file" in view.reasons[0]


def test_a_missing_file_has_status_missing(tmp_path: Path) -> None:
    view = read_view(tmp_path / "nowhere", "BTC", NOW)
    assert view.status is Status.MISSING
    assert "there is no file for BTC yet" in view.reasons[0]


def test_the_first_symbol_with_a_price_is_the_default(tmp_path: Path) -> None:
    assert first_with_price(tmp_path, ["BTC", "ETH"], NOW) == "BTC"
    write_ladder(tmp_path, "BTC", without_price())
    write_ladder(tmp_path, "ETH", ladder(95_100.0, NOW))
    assert first_with_price(tmp_path, ["BTC", "ETH"], NOW) == "ETH"


def without_price() -> dict[str, Any]:
    return payload_without_answers(NOW, None, 250.0, ["kraken BTC: no answer"], session=3, source="kraken")


def test_a_file_without_a_price_gives_the_reason() -> None:
    payload = without_price()
    assert list(payload) == list(ladder(95_100.0, NOW))
    assert [payload[name] for name in ("current_price", "price_timestamp", "strikes")] == [None, None, []]
    view = assess(payload)
    assert (view.status, view.reasons, view.payload) == (Status.STALE, ("kraken BTC: no answer",), None)
    late = assess(payload, 65.0)
    assert late.status is Status.UNWRITTEN
    assert late.reasons == ("the file is not being written: it is 65 s old", "kraken BTC: no answer")


def test_a_last_known_price_is_shown_with_its_age_and_without_probabilities() -> None:
    last = Tick(NOW - timedelta(days=3), 95_100.0)
    view = assess(payload_without_answers(NOW, last, 250.0, ["kraken BTC: no answer"], session=3, source="kraken"))
    assert (view.status, view.reasons) == (Status.STALE, ("the price is 3 d old", "kraken BTC: no answer"))
    assert view.payload is not None
    assert view.payload["current_price"] == 95_100.0
    assert len(view.rungs) == 21
    assert {rung.at_or_above for rung in view.rungs} == {None}


def test_replayed_prices_are_never_ok() -> None:
    replayed = {"replayed_at": datetime(2025, 7, 1, 8, 30, 5, tzinfo=UTC)}
    for problems in ([], ["momentum is not known"]):
        view = assess(ladder(95_100.0, NOW, problems=problems, source=REPLAY, **replayed))
        assert (view.status, view.reasons) == (Status.REPLAY, tuple(problems))
        assert view.notice == "replayed prices of 2025-07-01 08:30 UTC, not the market's prices now"
    assert assess(ladder(95_100.0, NOW, source=REPLAY, **replayed), 3.0).status is Status.STALE
    assert assess(ladder(95_100.0, NOW, source="kraken")).notice is None


def test_the_examples_of_the_documentation_hold() -> None:
    for module in (freshness, probability_reader):
        assert doctest.testmod(module) == (0, 1)


def test_a_file_without_the_fields_of_its_settlement_has_texts() -> None:
    payload = ladder(95_100.0, NOW) | {"settlement": "mean_60s"}
    assert (settlement_text(payload), basis_text(payload)) == ("mean of 60 s", "unknown")
    known = {"bps": 2.04, "source": "index", "age_seconds": 65}
    assert basis_text(payload | {"basis": known}) == "+2.0 bp, index, 65 s old"
    assert settlement_text(payload | {"known_values": 12}) == "mean of 60 s, 12 known"
    for name in ("known_values", "known_mean", "basis", "warnings"):
        del payload[name]
    assert (settlement_text(payload), basis_text(payload)) == ("mean of 60 s", "unknown")
    del payload["settlement"]
    assert (settlement_text(payload), basis_text(payload)) == ("last price", None)
