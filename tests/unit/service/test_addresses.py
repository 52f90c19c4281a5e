"""The addresses of `strikecast up`."""

from socket import create_server

import pytest

from pipelines.errors import SettingsError
from pipelines.service.addresses import choose_addresses
from pipelines.settings import load_settings


def test_with_a_free_port_of_the_ui_the_others_are_free_ones_too() -> None:
    found = choose_addresses(load_settings(ui_port=0, markets={"source": "simulated"}))
    assert found.exchange is not None
    ports = {found.ui.port, found.page.port, found.exchange.port}
    assert len(ports) == 3
    assert not ports & {0, 3000, 8321, 8322}
    assert found.exchange.url == f"http://127.0.0.1:{found.exchange.port}"


def test_ports_that_are_set_are_used_and_named_when_they_are_taken() -> None:
    with create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for setting, what in (
            ({"ui_port": port}, "the UI .* --port or STRIKECAST_UI_PORT"),
            ({"ui_port": 0, "page_port": port}, "the page .* --page-port or STRIKECAST_PAGE_PORT"),
            (
                {"ui_port": 0, "markets": {"source": "simulated", "simulation_port": port}},
                "the simulated exchange .* STRIKECAST_MARKETS__SIMULATION_PORT",
            ),
        ):
            before, _, after = what.partition(" .* ")
            with pytest.raises(SettingsError, match=f"{before} cannot use 127.0.0.1:{port}.*with {after}"):
                choose_addresses(load_settings(**setting))


@pytest.mark.parametrize("source", ["none", "kalshi"])
def test_without_the_simulated_exchange_its_port_is_not_asked_for(source: str) -> None:
    with create_server(("127.0.0.1", 0)) as taken:
        markets = {"source": source, "simulation_port": taken.getsockname()[1]}
        assert choose_addresses(load_settings(ui_port=0, markets=markets)).exchange is None
