"""The switch of the paper desk as op jobs, to be launched in the UI."""

import dagster as dg

from pipelines.resources import DatabaseResource, SettingsResource
from pipelines.storage.desk.reads import require_campaign
from pipelines.storage.desk.switch import set_switch


class SwitchConfig(dg.Config):
    """Why the desk is stopped or started, and the campaign, by default that of the settings."""

    reason: str = "launched in the Dagster UI"
    campaign: str | None = None


def _switch(
    context: dg.OpExecutionContext,
    config: SwitchConfig,
    settings: SettingsResource,
    database: DatabaseResource,
    *,
    stopped: bool,
) -> None:
    campaign = config.campaign or settings.values.desk_campaign
    with database.transaction("desk switch") as connection:
        if campaign != settings.values.desk_campaign:  # which can be stopped before it begins
            require_campaign(connection, campaign)
        stored = set_switch(connection, campaign, stopped, config.reason, f"Dagster run {context.run.run_id}")
    context.add_output_metadata(
        {"campaign": campaign, "stopped": stored.stopped, "at": dg.MetadataValue.timestamp(stored.at)}
    )


@dg.op
def stop_entries(
    context: dg.OpExecutionContext, config: SwitchConfig, settings: SettingsResource, database: DatabaseResource
) -> None:
    """Order the desk to enter no trades."""
    _switch(context, config, settings, database, stopped=True)


@dg.op
def start_entries(
    context: dg.OpExecutionContext, config: SwitchConfig, settings: SettingsResource, database: DatabaseResource
) -> None:
    """Allow the desk to enter trades again."""
    _switch(context, config, settings, database, stopped=False)


@dg.job(
    description="Stop the paper desk: within a second it enters no trades and cancels entry orders; positions are kept "
    "until they are sold by rule or settled."
)
def stop_desk() -> None:
    """One op, one statement."""
    stop_entries()


@dg.job(description="Let the paper desk enter trades again.")
def start_desk() -> None:
    """One op, one statement."""
    start_entries()
