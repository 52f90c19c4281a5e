"""A symbol with published models, for the tests of a module."""

from collections.abc import Iterator

import pytest
from synthetic_prices import ingest_bars, publish_all, synthetic_bars, update_models

from pipelines.domain.prices.synthetic_bars import SyntheticBars
from pipelines.storage.postgres.connection import Connection, Database, Role

DAYS = 75


@pytest.fixture(scope="module")
def bars() -> SyntheticBars:
    return synthetic_bars(DAYS)


@pytest.fixture(scope="module")
def published(database: Database, bars: SyntheticBars, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A symbol with 75 days of bars and every model published."""
    ingest_bars(database, "FULL", bars, tmp_path_factory.mktemp("full"))
    update = update_models(database, "FULL")
    publish_all(database, "FULL", update)
    return "FULL"


@pytest.fixture(scope="module")
def reader(database: Database) -> Iterator[Connection]:
    with database.connect("test", Role.READER, autocommit=True) as connection:
        yield connection
