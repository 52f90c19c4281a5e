"""Score rows of live answers."""

import numpy as np
import pytest

from pipelines.domain.evaluation.score_report import WALK_FORWARD_RULE, ScoreRow, live_rows
from pipelines.domain.markets.settlement import SettlementRule


@pytest.mark.parametrize("rule", list(SettlementRule))
def test_rows_of_live_answers_name_their_rule(rule: SettlementRule) -> None:
    hours, probabilities = np.array([3, 3, 4]), np.array([0.2, 0.5, 1.0])
    rows = live_rows("normal", rule, hours, probabilities, np.array([False, True, True]))
    assert {row.settlement for row in rows} == {rule}
    assert {row.as_json()["settlement"] for row in rows} == {str(rule)}
    assert rows[0].brier == pytest.approx((0.04 + 0.25) / 3)
    assert [(row.level, row.n) for row in rows if row.dimension == "hour"] == [("3", 2), ("4", 1)]


def test_bars_settle_by_the_last_price() -> None:
    assert WALK_FORWARD_RULE is SettlementRule.LAST_PRICE
    assert ScoreRow("normal", "all", "all", 1, 0.5, 1.0).settlement is WALK_FORWARD_RULE
