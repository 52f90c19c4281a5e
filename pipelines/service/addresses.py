"""The addresses that `strikecast up` listens on."""

from dataclasses import dataclass
from socket import SO_REUSEADDR, SOL_SOCKET, socket

from pipelines.domain.markets.board import MarketSource
from pipelines.errors import SettingsError
from pipelines.markets.address import LOCAL_HOST
from pipelines.settings import Settings

DEFAULT_PAGE_PORT, DEFAULT_SIMULATION_PORT = 8321, 8322


@dataclass(frozen=True)
class Address:
    """A host, and a port that was free."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """As a browser needs it."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


@dataclass(frozen=True)
class Addresses:
    """Of Dagster's UI, the page, the simulated exchange, and the analysts' UI; None where there is none."""

    ui: Address
    page: Address
    exchange: Address | None
    analysts: Address | None = None


def choose_addresses(settings: Settings) -> Addresses:
    """The addresses that the settings want; with `ui_port = 0`, ports that are not set are free ones.

    Raises SettingsError when one is taken.
    """
    page_port, simulation_port = settings.page_port, settings.markets.simulation_port
    if page_port is None:
        page_port = DEFAULT_PAGE_PORT if settings.ui_port else 0
    if simulation_port is None:
        simulation_port = DEFAULT_SIMULATION_PORT if settings.ui_port else 0
    is_simulated = settings.markets.source is MarketSource.SIMULATED
    return Addresses(
        _free(settings.ui_host, settings.ui_port, "the UI", "--port or STRIKECAST_UI_PORT"),
        _free(settings.page_host, page_port, "the page", "--page-port or STRIKECAST_PAGE_PORT"),
        _free(LOCAL_HOST, simulation_port, "the simulated exchange", "STRIKECAST_MARKETS__SIMULATION_PORT")
        if is_simulated
        else None,
        None
        if settings.ui_analysts_port is None
        else _free(settings.ui_host, settings.ui_analysts_port, "the analysts' UI", "STRIKECAST_UI_ANALYSTS_PORT"),
    )


def _free(host: str, port: int, what: str, option: str) -> Address:
    """A port to listen on, or a free one for port 0. Raises SettingsError when it is taken."""
    with socket() as probe:
        # As the web server does; otherwise connections of the previous one block the port for a minute.
        probe.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SettingsError(
                f"{what} cannot use {host}:{port}: {error.strerror}; choose another port with {option} (0: any free "
                "one)"
            ) from error
        return Address(host, int(probe.getsockname()[1]))
