"""Dagster's storage, which `dagster.yaml` names: PostgreSQL, at the address of STRIKECAST_DAGSTER_URL."""

import os
from collections.abc import Mapping
from typing import Any

import click
from dagster_postgres import DagsterPostgresStorage

from pipelines.deployment import DAGSTER_URL_VARIABLE

MISSING = (
    f"{DAGSTER_URL_VARIABLE} is not set: run `strikecast dagster -- ARGS...` instead of `dagster ARGS...`, or while "
    '`strikecast up` runs `eval "$(strikecast env)"` first'
)


class Storage(DagsterPostgresStorage):
    """Without the address, Dagster's commands end with one line; its own configuration would print a traceback."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """No options: the address contains a password, which belongs into no file."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> "Storage":
        """The storage. Raises click's error, which Dagster's commands print as one line."""
        del config_value
        url = os.environ.get(DAGSTER_URL_VARIABLE)
        if not url:
            raise click.ClickException(MISSING)
        return cls(postgres_url=url, should_autocreate_tables=True, inst_data=inst_data)
