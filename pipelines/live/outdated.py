"""What becomes outdated while a live session runs: its settings, its recordings, files of symbols that were removed."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from pathlib import Path

import orjson

from pipelines.atomic_files import MOST_JSON_BYTES, read_bounded
from pipelines.domain.models.ladder import iso
from pipelines.domain.prices.ticks import REPLAY
from pipelines.live.feeds.base import Feed
from pipelines.live.probability_writer import FILE_SUFFIX, TABLE_SUFFIX, ProbabilityFileWriter
from pipelines.live.symbol_refresher import SymbolRefresher
from pipelines.log import Log
from pipelines.settings import CurrentSettings, Settings


class SettingsWatch:
    """Whether the settings file now says something else than `settings`, as far as a live session is concerned."""

    def __init__(self, settings: Settings, log: Log) -> None:
        self._used = _used_by_a_session(settings)
        self._current = CurrentSettings(settings, log)

    def has_changed(self) -> bool:
        """Read the file if it was replaced; settings that are not valid are logged, and do not count as a change."""
        return _used_by_a_session(self._current()) != self._used


def _used_by_a_session(settings: Settings) -> tuple[object, ...]:
    return (
        *(settings.symbols, settings.feed, settings.replay, settings.exchange, settings.markets, settings.output),
        *(settings.desk, settings.desk_campaign),
    )


class Unsupplied:
    """Symbols with a champion that a replay has no bars of: it was made before their first ingestion."""

    def __init__(self, refreshers: Mapping[str, SymbolRefresher], feed: Feed, make_feed: Callable[[], Feed]) -> None:
        self._refreshers = refreshers
        self._supplied = _symbols_of(feed)
        self._is_replay = feed.name == REPLAY
        self._make_feed = make_feed
        self._checked: set[tuple[str, int | None]] = set()

    def can_be_supplied(self) -> bool:
        """Whether a new replay would have bars of one of them; looks once per published generation."""
        if not self._is_replay:
            return False
        missing = {
            (symbol, one.generation)
            for symbol, one in self._refreshers.items()
            if one.champion is not None and symbol not in self._supplied
        }
        if missing <= self._checked:
            return False
        self._checked |= missing
        return not _symbols_of(self._make_feed()).isdisjoint(symbol for symbol, _ in missing)


def _symbols_of(feed: Feed) -> set[str]:
    return {symbol for source in feed.sources for symbol in source.symbols}


def end_files_of_others(files: ProbabilityFileWriter, symbols: Collection[str], now: datetime) -> None:
    """Write into each file of a symbol that is not in `symbols` that it will not be refreshed; `now` is aware UTC.

    Files that say so already, and files of another kind, are not changed.
    """
    names = {f"{symbol.lower()}{FILE_SUFFIX}" for symbol in symbols}
    for path in files.folder.glob(f"[!.]*{FILE_SUFFIX}"):
        if path.name in names:
            continue
        symbol = path.name.removesuffix(FILE_SUFFIX).upper()
        reason = f"{symbol} is no longer configured: its file is not refreshed"
        try:
            payload = orjson.loads(read_bounded(path, MOST_JSON_BYTES))
            is_ended = reason in payload["reasons"]
        except (ValueError, TypeError, KeyError, OSError):
            continue
        if not is_ended:
            files.write(symbol, payload | {"timestamp": iso(now), "status": "stale", "reasons": [reason]})


def remove_tables_of_others(folder: Path, tables: Collection[Path], log: Log) -> None:
    """Remove strike tables that are not in `tables`: nobody refreshes them, and old quotes are of no use."""
    for path in folder.glob(f"[!.]*{TABLE_SUFFIX}"):
        if path not in tables:
            path.unlink(missing_ok=True)
            log(f"{path.name} is removed: no configured series of [markets] has it")
