"""Whether a symbol's models of moves are to be rebuilt."""

from pipelines.domain.configuration.model import ModelConfig
from pipelines.domain.models.momentum import MomentumRule
from pipelines.domain.models.yardstick import BY_MOVE, BuiltYardstick, due_yardstick
from pipelines.domain.prices.bars import minute_of_instant
from pipelines.errors import NoDataError
from pipelines.storage.models.champions import read_champion
from pipelines.storage.models.generations import active_generation, read_version
from pipelines.storage.postgres.connection import Connection
from pipelines.storage.postgres.statements import Statements, read_value
from pipelines.storage.prices.history import newest_bar_at

SQL = Statements(__name__)


def stored_yardstick_due(connection: Connection, symbol: str, model: ModelConfig) -> str | None:
    """Why the published models of moves of a symbol are to be rebuilt from its stored bars; None when they are not."""
    newest = newest_bar_at(connection, symbol)
    try:
        champion = read_champion(connection, symbol).champion
        built = [_built(connection, symbol, name) for name in BY_MOVE]
    except NoDataError:
        champion, built = None, []
    if newest is None:
        return None
    return due_yardstick(symbol, champion, built, model, minute_of_instant(newest) + 1)


def _built(connection: Connection, symbol: str, model: str) -> BuiltYardstick:
    version = read_version(connection, active_generation(connection, symbol, model))
    changed = read_value(connection, SQL["changed_since"], [symbol, version.created_at])
    rule = version.rule
    assert isinstance(rule, MomentumRule)
    return BuiltYardstick(
        rule.config,
        0 if version.last_bar_at is None else minute_of_instant(version.last_bar_at) + 1,
        None if changed is None else minute_of_instant(changed),
    )
