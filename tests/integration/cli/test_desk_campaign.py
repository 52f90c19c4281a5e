"""Which paper account `strikecast desk` means, where the system runs with other settings than the command."""

import asyncio
import json
from pathlib import Path

from desk_inputs import BEGAN, EAGER, random_inputs
from desk_sessions import save_in_steps, start_session
from readers import command_line

from pipelines.domain.desk.state import DeskState
from pipelines.storage.postgres.connection import Database


def test_commands_with_other_settings_mean_the_only_account_and_none_that_is_misspelt(
    database: Database, tmp_path: Path
) -> None:
    state, session = DeskState.opened("demo", EAGER, BEGAN), start_session(database)
    asyncio.run(save_in_steps(database, session, state, random_inputs(7, 20), 20))
    command = command_line(database, tmp_path)
    for arguments in (["status"], ["stop", "--reason", "an exercise"]):
        completed = command.invoke("desk", *arguments, "--json")
        assert completed.returncode == 0, completed.stderr
        assert json.loads(completed.stdout)["campaign"] == "demo"
    refused = command.invoke("desk", "stop", "--campaign", "dmeo", "--reason", "an exercise")
    assert (refused.returncode, "known: demo" in refused.stderr) == (1, True)
    assert json.loads(command.invoke("desk", "status", "--json").stdout)["stopped"] == "an exercise"
