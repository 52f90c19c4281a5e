"""`strikecast symbol`: settings file, Dagster's partitions, and stored history."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from system import System


@pytest.fixture
def file(system: System, instance: dg.DagsterInstance) -> Iterator[Path]:
    path = system.home / "strikecast.toml"
    path.write_text("# kept\n")
    yield path
    path.unlink()
    instance.delete_dynamic_partition("symbol", "SOL")


def names(system: System) -> list[str]:
    return [row["symbol"] for row in json.loads(system.invoke("symbol", "list", "--json").stdout)]


def test_a_symbol_is_added_listed_and_removed(system: System, instance: dg.DagsterInstance, file: Path) -> None:
    options = ["--strike-tier", "0.0000001", "--settlement", "last_price"]
    added = system.invoke("symbol", "add", "SOL", *options)
    assert added.returncode == 0, added.stderr
    assert "strikes 0.0000001 USD apart, settled by last_price" in " ".join(added.stdout.split())
    added = system.invoke("symbol", "add", "SOL", "--strike-tier", "1", "--market", "SOL/USDT")
    assert added.returncode == 0, added.stderr
    assert "settled by last_price" in " ".join(added.stdout.split()), "kept"
    assert "`strikecast build SOL`" in added.stdout
    assert instance.has_dynamic_partition("symbol", "SOL")
    assert names(system) == ["BTC", "ETH", "SOL"]
    assert "SOL/USDT" in system.invoke("symbol", "list").stdout
    removed = system.invoke("symbol", "remove", "SOL")
    assert removed.returncode == 0, removed.stderr
    assert "`strikecast symbol add SOL --strike-tier 1` brings it back" in removed.stdout
    assert names(system) == ["BTC", "ETH"]
    assert file.read_text().strip() == "# kept"


def test_removing_a_symbol_deletes_nothing(system: System, instance: dg.DagsterInstance, file: Path) -> None:
    def stored() -> dict[str, object]:
        [row] = [
            row for row in json.loads(system.invoke("status", "--json").stdout)["symbols"] if row["symbol"] == "BTC"
        ]
        return dict(row)

    before = stored()
    assert system.invoke("symbol", "remove", "BTC").returncode == 0
    refused = system.invoke("ladder", "BTC", "--price", "95000", "--ttc", "900")
    assert refused.returncode == 1
    assert "strikecast symbol add BTC" in refused.stderr.replace("\n", " ")
    assert system.invoke("symbol", "add", "BTC", "--strike-tier", "250").returncode == 0
    assert stored() == before
    assert instance.has_dynamic_partition("symbol", "BTC")
    assert "# kept" in file.read_text()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["add", "sol", "--strike-tier", "1"], "is not a symbol"),
        (["add", "SOL", "--strike-tier", "0"], "symbols.SOL.strike_tier_usd: Input should be greater than 0"),
        (["add", "SOL", "--strike-tier", "1", "--market", "SOLUSDT"], "symbols.SOL.market"),
        (["remove", "SOL"], "'SOL' is not configured"),
    ],
)
def test_what_is_refused_changes_nothing(
    system: System, instance: dg.DagsterInstance, file: Path, arguments: list[str], problem: str
) -> None:
    refused = system.invoke("symbol", *arguments)
    assert refused.returncode == 1
    assert problem in refused.stderr.replace("\n", " ")
    assert file.read_text() == "# kept\n"
    assert not instance.has_dynamic_partition("symbol", "SOL")
