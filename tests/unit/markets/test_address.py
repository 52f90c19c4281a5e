"""Where markets are asked for, by the settings and by what the simulated exchange announced."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pipelines.errors import MarketError
from pipelines.markets.address import (
    BASE_URL,
    announce_simulation,
    market_url,
    running_simulation,
    withdraw_simulation,
)
from pipelines.settings import Settings, load_settings

URL = "http://127.0.0.1:8322/trade-api/v2"
#: The address of another machine, which nothing of ours writes.
FOREIGN = json.dumps({"url": "http://example.org/", "pid": os.getpid(), "created": psutil.Process().create_time()})


def settings(home: Path, **markets: object) -> Settings:
    return load_settings(home=home, markets=markets)


def test_the_exchange_itself_is_the_public_one_or_that_of_the_settings(tmp_path: Path) -> None:
    assert market_url(settings(tmp_path, source="kalshi")) == BASE_URL
    assert market_url(settings(tmp_path, source="kalshi", url=URL)) == URL
    with pytest.raises(MarketError, match=r"markets\.source is none: set it to kalshi or simulated"):
        market_url(settings(tmp_path))


def test_the_simulated_exchange_has_the_address_that_it_announced(tmp_path: Path) -> None:
    simulated = settings(tmp_path, source="simulated")
    with pytest.raises(MarketError, match=r"the simulated exchange is not up: `strikecast up` starts it"):
        market_url(simulated)
    announce_simulation(simulated, URL)
    assert market_url(simulated) == URL
    withdraw_simulation(simulated)
    assert list(tmp_path.iterdir()) == []


def test_an_exchange_whose_process_has_ended_is_not_up_and_is_replaced(tmp_path: Path) -> None:
    simulated = settings(tmp_path, source="simulated")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    created = psutil.Process(ended.pid).create_time()
    ended.wait()
    file = tmp_path / "simulated_exchange.json"
    file.write_text(json.dumps({"url": "http://127.0.0.1:1/trade-api/v2", "pid": ended.pid, "created": created}))
    with pytest.raises(MarketError, match="not up"):
        market_url(simulated)
    announce_simulation(simulated, URL)
    assert market_url(simulated) == URL


def test_a_process_with_the_number_of_an_ended_one_is_another(tmp_path: Path) -> None:
    state = {"url": URL, "pid": os.getpid(), "created": psutil.Process().create_time() - 3_600}
    (tmp_path / "simulated_exchange.json").write_text(json.dumps(state))
    assert running_simulation(settings(tmp_path)) is None


def test_an_exchange_that_is_up_keeps_its_place(tmp_path: Path) -> None:
    simulated = settings(tmp_path, source="simulated")
    parent = psutil.Process(os.getppid())
    state = {"url": "http://127.0.0.1:1/trade-api/v2", "pid": parent.pid, "created": parent.create_time()}
    (tmp_path / "simulated_exchange.json").write_text(json.dumps(state))
    announce_simulation(simulated, URL)
    withdraw_simulation(simulated)
    assert market_url(simulated) == "http://127.0.0.1:1/trade-api/v2"


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", FOREIGN, '{"url": "u", "pid": -1}'],
    ids=["empty", "cut off", "a list", "a foreign address", "no process"],
)
def test_a_damaged_file_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "simulated_exchange.json").write_text(content)
    assert running_simulation(settings(tmp_path)) is None
    announce_simulation(settings(tmp_path), URL)
    assert market_url(settings(tmp_path, source="simulated")) == URL
