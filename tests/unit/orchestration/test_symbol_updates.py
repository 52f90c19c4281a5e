"""Batches of symbols."""

from typing import Any

import pytest

from pipelines.orchestration.symbol_updates import LARGEST_BATCH, update_requests


def batches(number: int) -> list[list[str]]:
    requests = update_requests([f"S{one}" for one in range(number)], "ticks", "tick")
    configs: list[Any] = [request.run_config for request in requests]
    assert len({request.run_key for request in requests}) == len(requests)
    assert all(config["ops"]["update"]["config"]["origin"] == "ticks" for config in configs)
    return [config["ops"]["update"]["config"]["symbols"] for config in configs]


@pytest.mark.parametrize(("symbols", "runs"), [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2), (50, 2), (51, 3), (200, 8)])
def test_symbols_are_divided_into_few_runs_of_limited_size(symbols: int, runs: int) -> None:
    found = batches(symbols)
    assert len(found) == runs
    assert [name for batch in found for name in batch] == [f"S{one}" for one in range(symbols)]
    assert all(len(batch) <= LARGEST_BATCH for batch in found)
