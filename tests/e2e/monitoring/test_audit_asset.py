"""The audit as an asset with a report and a check for each target, alerts on lasting breaches, and files."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from auditing import AT, dashboard, metrics_of, tick_states
from prometheus_client.parser import text_string_to_metric_families
from system import System
from waiting import wait_until
from watched import lasting, problem_keys

from pipelines.definitions import defs
from pipelines.live.probability_writer import probabilities_path
from pipelines.monitoring.audit.declarations import targets
from pipelines.monitoring.audit.reports import report_paths
from pipelines.web.ticks import tick_metrics

JOB = "audit_system"


@contextmanager
def refreshing(system: System) -> Iterator[None]:
    """A running live session."""
    command = [sys.executable, "-m", "pipelines.cli", "live"]
    path = probabilities_path(system.settings.output_dir, "BTC")
    before = path.stat().st_mtime_ns
    with subprocess.Popen(command, env=system.variables, cwd=system.home, stderr=subprocess.DEVNULL) as child:
        try:
            wait_until(lambda: path.stat().st_mtime_ns > before, "the file to be written")
            yield
        finally:
            child.send_signal(signal.SIGINT)


@pytest.fixture(scope="module")
def used_system(system: System) -> System:
    """A system with a live session behind it, and a backup."""
    for command in (["live", "--once"], ["backup", "create"], ["retention"]):
        done = system.invoke(*command)
        assert done.returncode == 0, done.stderr
    return system


def test_the_full_audit_is_an_asset_with_its_report_and_a_check_per_target(
    used_system: System, in_system: System, instance: dg.DagsterInstance
) -> None:
    result = defs.resolve_job_def(JOB).execute_in_process(
        instance=instance, run_config={"ops": {"audit": {"config": {"full": True}}}}
    )
    assert result.success
    event = instance.get_latest_materialization_event(dg.AssetKey("audit"))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    report = str(metadata["report"].value)
    assert "## Service targets" in report
    assert "## Processes" in report
    page = Path(str(metadata["page"].value))
    assert f"<title>Audit {metadata['audit'].value}: grade" in page.read_text()
    found = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert found.keys() == {one.check for one in targets()} | {"autovacuum_as_declared"}
    read = found["reading_a_ladders_rows_p95"]
    # The latency depends on the machine; report and check have to agree.
    state = "met" if read.passed else "missed"
    assert f"| reading a ladder's rows, p95 below 10 ms | {state} |" in report
    assert read.metadata["measurement"].value == "query p95 {query=lookup_rows, symbol=BTC}"
    assert found["time_without_a_backup"].passed
    text = report_paths(in_system.settings).metrics.read_text()
    assert 'strikecast_maintenance_result{job="retention",what="steps_left"} 0.0' in text
    assert 'strikecast_table_index_use_ratio{table="analytics.lookup"}' in text
    assert found["longest_time_between_refreshes"].metadata["severity"].value == "P2"
    old = found["age_of_the_probability_files"]
    assert (old.passed, old.severity) == (False, dg.AssetCheckSeverity.ERROR), "P1: the file is no longer refreshed"
    assert all(
        one.severity is dg.AssetCheckSeverity.WARN
        for one in found.values()
        if one not in (old, read) and not one.passed
    )


def test_the_dashboard_queries_metrics_of_a_real_audit(used_system: System, in_system: System) -> None:
    text = report_paths(in_system.settings).metrics.read_text()
    text += tick_metrics(tick_states(AT), AT).decode()  # no daemon runs that would tick
    found = {family.name for family in text_string_to_metric_families(text)}
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            assert metrics_of(target) <= found, panel["title"]


def test_a_target_missed_by_successive_audits_is_an_alert_and_one_miss_is_not(
    used_system: System, in_system: System, instance: dg.DagsterInstance
) -> None:
    def alerts() -> dict[str, str]:
        problem_keys(instance)
        return lasting()

    def audit(hours_ago: int) -> None:
        assert in_system.invoke("audit", "run").returncode == 0
        with psycopg.connect(in_system.database.url) as connection:
            connection.execute(
                "UPDATE ops.audit SET started_at = started_at - %s * interval '1 hour' "
                "WHERE audit_id = (SELECT max(audit_id) FROM ops.audit)",
                [hours_ago],
            )

    missed = "target age of the probability files"
    with psycopg.connect(in_system.database.url) as connection:
        connection.execute("DELETE FROM ops.audit_baseline")
        connection.execute("DELETE FROM ops.audit")  # audits of schedules, while another test ran the system
    audit(2)
    assert missed not in alerts()
    audit(1)
    audit(0)
    assert "was missed by" in alerts()[missed]
    shown = in_system.invoke("alerts")
    assert "A target of service is missed" in " ".join(shown.stdout.split())
    with refreshing(in_system):
        audit(0)
    assert missed not in alerts(), "the target is met again"


def test_every_format_is_printed_and_a_comparison_separates_noise(used_system: System) -> None:
    assert used_system.invoke("audit", "baseline", "before").returncode == 0
    raw = json.loads(used_system.invoke("audit", "show", "--as", "json").stdout)
    metrics = used_system.invoke("audit", "show", "--as", "prometheus").stdout
    assert f"strikecast_audit_gaps {len(raw['gaps'])}.0" in metrics
    assert used_system.invoke("audit", "show", "--as", "markdown").stdout.startswith(
        f"# Audit {raw['audit_id']}: grade"
    )
    assert json.loads(used_system.invoke("audit", "schema").stdout)["title"] == "PublishedAudit"
    compared = used_system.invoke("audit", "compare", "before").stdout
    assert "0 measurements changed beyond noise" in compared
