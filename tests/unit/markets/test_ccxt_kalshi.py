"""The client of this exchange is imported alone, and ccxt stays usable."""

import subprocess
import sys

ALONE = """
import sys
from pipelines.markets.ccxt_kalshi import errors, kalshi
assert "ccxt" not in sys.modules
assert "ccxt.base.exchange" in sys.modules
assert not [name for name in sys.modules if name.startswith("ccxt.") and name.endswith((".kraken", ".binance"))]
"""
AFTERWARDS = """
from ccxt import async_support, pro
import ccxt.prediction
from pipelines.ingestion.exchange import new_client
from ccxt.base.exchange import Exchange
assert ccxt.prediction.kalshi is kalshi
assert ccxt.NetworkError is errors.NetworkError
assert issubclass(async_support.kraken, async_support.Exchange)
assert len(ccxt.exchanges) > 100 and issubclass(ccxt.kraken, Exchange) and pro.kraken
"""
BEFORE = """
import ccxt.prediction
from pipelines.markets.ccxt_kalshi import errors, kalshi
assert kalshi is ccxt.prediction.kalshi and errors.NetworkError is ccxt.NetworkError
"""


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_other_exchange_is_imported() -> None:
    run(ALONE)


def test_ccxt_can_be_imported_afterwards() -> None:
    run(ALONE + AFTERWARDS)


def test_ccxt_may_be_imported_before() -> None:
    run(BEFORE)
