"""Decimals of prices, strikes and distances, for coins of any price."""

import numpy as np
import pytest

from pipelines.domain.models.ladder import LadderAnswers, base_strike_usd, ladder_strikes_usd
from pipelines.domain.prices.decimals import price_text, strike_text

COINS = {"BTC": (95_123.45, 250.0), "XRP": (2.3137, 0.02), "DOGE": (0.17123, 0.001), "SHIB": (0.00001234, 1e-7)}


@pytest.mark.parametrize("coin", COINS)
def test_strikes_and_distances_have_the_decimals_of_their_coin(coin: str) -> None:
    price, tier = COINS[coin]
    strikes = ladder_strikes_usd(price, tier)
    assert len(strikes) == 21
    assert len(np.unique(strikes)) == 21
    assert base_strike_usd(price, tier) == strikes[10]
    for row, strike in zip(LadderAnswers.unknown(price, strikes).rows(), strikes, strict=True):
        assert strike / tier == pytest.approx(round(strike / tier), abs=1e-9)
        assert row["buffer"] == pytest.approx(abs(strike - price), abs=tier / 100)
        assert row["buffer"] > 0
        assert float(strike_text(row["strike"]).replace(",", "")) == row["strike"]


def test_bitcoin_keeps_cents() -> None:
    rows = LadderAnswers.unknown(95_123.456, ladder_strikes_usd(95_123.456, 250.0)).rows()
    assert [row["buffer"] for row in rows[9:12]] == [373.46, 123.46, 126.54]


@pytest.mark.parametrize(
    ("price", "text"),
    [(95_123.4, "95,123.40"), (1.0, "1.00"), (0.5, "0.50"), (0.171234, "0.171234"), (1e-9, "0.000000001")],
)
def test_prices_are_shown_with_six_digits_and_cents(price: float, text: str) -> None:
    assert price_text(price) == text
