"""The paper desk's report and checks through Dagster, on what a desk has saved."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from sample_desks import HOUR
from schedules import ticked
from stored_desks import store_course
from system import System
from watched import lasting, problem_keys

from pipelines.definitions import defs
from pipelines.domain.desk.state import DeskState

CHECKS = {"desk_book_balances", "desk_positions_are_settled"}
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


@pytest.fixture(autouse=True)
def _no_desk(in_system: System) -> Iterator[None]:
    yield
    with in_system.database.connect("test", None) as connection:
        connection.execute("TRUNCATE live_data.desk_event, live_data.desk_trade, live_data.desk_inputs CASCADE")
        connection.execute("DELETE FROM live_data.session_snapshots WHERE session_id LIKE 'desk:%'")


def store(system: System, until: datetime) -> DeskState:
    return store_course(system.database, "paper", until, 3)


def run(instance: dg.DagsterInstance, job: str) -> tuple[dict[str, dg.MetadataValue], dict[str, bool]]:
    """Metadata of the asset's materialization, and the results of the checks."""
    result = defs.resolve_job_def(job).execute_in_process(instance=instance)
    assert result.success
    materialized = result.asset_materializations_for_node("paper_desk") if job == "report_desk" else []
    metadata = materialized[0].metadata if materialized else {}
    return dict(metadata), {one.check_name: one.passed for one in result.get_asset_check_evaluations()}


def test_the_account_is_reported_with_its_chart_and_checked(in_system: System, instance: dg.DagsterInstance) -> None:
    state = store(in_system, NOW + HOUR)
    metadata, checks = run(instance, "report_desk")
    assert checks == dict.fromkeys(CHECKS, True)
    assert metadata["equity_usd"].value == pytest.approx(float(state.equity_usd))
    assert (metadata["open_positions"].value, metadata["dagster/row_count"].value) == (1, 3)
    assert "settled" in str(metadata["trades"].value)
    assert "the spread is too wide" in str(metadata["rejections"].value)
    chart = Path(str(metadata["equity_chart"].value))
    assert chart.read_bytes().startswith(b"\x89PNG")


def test_before_the_first_trade_the_report_is_empty_and_nothing_fails(instance: dg.DagsterInstance) -> None:
    metadata, checks = run(instance, "report_desk")
    assert (metadata["enabled"].value, metadata["dagster/row_count"].value) == (False, 0)
    assert checks == dict.fromkeys(CHECKS, True)
    assert run(instance, "replay_desk")[1] == {"desk_replays_equal": True}


def test_a_position_that_was_not_settled_is_listed(in_system: System, instance: dg.DagsterInstance) -> None:
    store(in_system, NOW - HOUR)
    result = defs.resolve_job_def("report_desk").execute_in_process(instance=instance)
    [found] = [one for one in result.get_asset_check_evaluations() if not one.passed]
    assert (found.check_name, found.severity) == ("desk_positions_are_settled", dg.AssetCheckSeverity.WARN)
    assert "KXBTCD-" in str(found.metadata["detail"].value)


def test_a_changed_ledger_and_a_changed_journal_fail_their_checks(
    in_system: System, instance: dg.DagsterInstance
) -> None:
    store(in_system, NOW + HOUR)
    assert run(instance, "replay_desk")[1] == {"desk_replays_equal": True}
    with in_system.database.connect("test", None) as connection:
        connection.execute("UPDATE live_data.desk_ledger SET amount_usd = amount_usd + 1 WHERE account = 'fees'")
        connection.execute("UPDATE live_data.desk_event SET contracts = contracts + 1 WHERE kind = 'buy'")
    assert run(instance, "report_desk")[1] == {"desk_book_balances": False, "desk_positions_are_settled": True}
    assert run(instance, "replay_desk")[1] == {"desk_replays_equal": False}


def test_a_failed_check_raises_one_alert_until_it_passes(in_system: System, instance: dg.DagsterInstance) -> None:
    store(in_system, NOW + HOUR)
    changes = {
        "desk_book_balances": ("report_desk", "desk_ledger SET amount_usd = amount_usd {} 1 WHERE account = 'fees'"),
        "desk_replays_equal": ("replay_desk", "desk_event SET contracts = contracts {} 1 WHERE kind = 'buy'"),
    }

    def alerts(sign: str) -> list[str]:
        """The checks with an alert after a change of what they read, and an evaluation."""
        for job, change in changes.values():
            with in_system.database.connect("test", None) as connection:
                connection.execute("UPDATE live_data." + change.format(sign))
            run(instance, job)
            problem_keys(instance)
        return [name for name in changes if f"desk paper check {name}" in problem_keys(instance)]

    assert alerts("+ 0 *") == []
    log = in_system.home / "logs" / "alerts.jsonl"
    before = len(log.read_text().splitlines()) if log.exists() else 0
    assert alerts("+") == list(changes)
    assert "do not add up to zero" in lasting()["desk paper check desk_book_balances"]
    assert alerts("-") == []
    lines = [json.loads(line) for line in log.read_text().splitlines()[before:]]
    for name in changes:
        ends = [one["ended_at"] is not None for one in lines if one["key"] == f"desk paper check {name}"]
        assert ends == [False, True], "reported once, and its end"


def test_a_position_past_its_close_has_no_second_alert_for_its_check(
    in_system: System, instance: dg.DagsterInstance
) -> None:
    store(in_system, NOW - HOUR)
    assert run(instance, "report_desk")[1]["desk_positions_are_settled"] is False
    found = {key for key in problem_keys(instance) if key.startswith("desk ")}
    assert found == {"desk paper positions"}


@pytest.mark.parametrize("name", ["hourly_desk_report", "nightly_desk_replay"])
def test_the_schedules_request_a_run_only_while_the_desk_is_on(
    name: str, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = datetime(2026, 1, 4, 0, 35, tzinfo=UTC)
    assert ticked(instance, name, at).startswith("the paper desk is off")
    monkeypatch.setenv("STRIKECAST_DESK__ENABLED", "true")
    assert ticked(instance, name, at).startswith("the paper desk is off"), "without a source of markets"
    monkeypatch.setenv("STRIKECAST_MARKETS__SOURCE", "kalshi")
    assert ticked(instance, name, at) == "2026-01-04T00:35:00+00:00"
