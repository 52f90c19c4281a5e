"""The jobs that stop and start the paper desk."""

from datetime import UTC, datetime

import dagster as dg
from stored_desks import store_course
from system import System

from pipelines.definitions import defs
from pipelines.storage.desk.switch import Switch, read_switch
from pipelines.storage.postgres.connection import Role


def switch(system: System, campaign: str) -> Switch | None:
    with system.database.connect("test", Role.READER) as connection:
        return read_switch(connection, campaign)


def test_the_jobs_give_orders_to_the_configured_campaign(in_system: System, instance: dg.DagsterInstance) -> None:
    config = {"ops": {"stop_entries": {"config": {"reason": "the model is rebuilt"}}}}
    stopped = defs.resolve_job_def("stop_desk").execute_in_process(instance=instance, run_config=config)
    assert stopped.success
    order = switch(in_system, "paper")
    assert order is not None
    assert (order.stopped, order.reason) == (True, "the model is rebuilt")
    assert order.by == f"Dagster run {stopped.run_id}"
    assert defs.resolve_job_def("start_desk").execute_in_process(instance=instance).success
    order = switch(in_system, "paper")
    assert order is not None
    assert (order.stopped, order.reason) == (False, "launched in the Dagster UI")


def test_another_campaign_is_named_and_must_be_known(in_system: System, instance: dg.DagsterInstance) -> None:
    job = defs.resolve_job_def("stop_desk")
    config = {"ops": {"stop_entries": {"config": {"campaign": "other"}}}}
    assert not job.execute_in_process(instance=instance, run_config=config, raise_on_error=False).success
    assert switch(in_system, "other") is None
    store_course(in_system.database, "other", datetime(2026, 1, 5, 12, tzinfo=UTC), 1)
    assert job.execute_in_process(instance=instance, run_config=config).success
    order = switch(in_system, "other")
    assert order is not None
    assert order.stopped


def test_a_reason_is_required(in_system: System, instance: dg.DagsterInstance) -> None:
    config = {"ops": {"stop_entries": {"config": {"reason": " "}}}}
    job = defs.resolve_job_def("stop_desk")
    assert not job.execute_in_process(instance=instance, run_config=config, raise_on_error=False).success
