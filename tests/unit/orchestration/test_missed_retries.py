"""A run that Dagster decided to retry, and did not, is reported to its daemon again, once."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG
from dagster._core.storage.tags import WILL_RETRY_TAG as DAGSTERS_TAG
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import filter_runs_to_should_retry

from pipelines.orchestration.run_reaper import RETRY_GRACE, RETRY_TAG, WILL_RETRY_TAG, report_missed_retries
from pipelines.resources import MAX_RETRIES_TAG

STARTED, FAILURE = dg.DagsterRunStatus.STARTED, dg.DagsterEventType.RUN_FAILURE


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """One that retries runs by their tag."""
    with dg.instance_for_test(overrides={"run_retries": {"enabled": True, "max_retries": 0}}) as found:
        yield found


def failed_run(instance: dg.DagsterInstance, retries: str = "1") -> str:
    """A run that has failed just now."""
    run = create_run_for_test(instance, job_name="build", status=STARTED, tags={MAX_RETRIES_TAG: retries})
    instance.report_run_failed(run, "its worker was lost")
    return run.run_id


def failures(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    return [entry.user_message for entry in instance.all_logs(run_id, FAILURE)]


def test_a_missed_retry_is_reported_once_and_then_seen(instance: dg.DagsterInstance) -> None:
    run_id, now = failed_run(instance), datetime.now(UTC)
    assert report_missed_retries(instance, now + RETRY_GRACE / 2) == []
    later = now + RETRY_GRACE + timedelta(seconds=5)
    assert report_missed_retries(instance, later) == [run_id]
    assert len(failures(instance, run_id)) == 2
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert [one.run_id for one in filter_runs_to_should_retry([run], instance)] == [run_id]
    assert report_missed_retries(instance, later + RETRY_GRACE * 2) == []
    assert len(failures(instance, run_id)) == 2


def test_runs_that_were_retried_or_are_not_to_be_are_left_alone(instance: dg.DagsterInstance) -> None:
    retried, final = failed_run(instance), failed_run(instance, retries="0")
    instance.add_run_tags(retried, {AUTO_RETRY_RUN_ID_TAG: "another"})
    assert report_missed_retries(instance, datetime.now(UTC) + RETRY_GRACE * 2) == []
    assert [len(failures(instance, run_id)) for run_id in (retried, final)] == [1, 1]


def test_the_tags_are_dagsters() -> None:
    assert (WILL_RETRY_TAG, RETRY_TAG) == (DAGSTERS_TAG, AUTO_RETRY_RUN_ID_TAG)
