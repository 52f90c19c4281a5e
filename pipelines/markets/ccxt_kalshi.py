"""Import ccxt's client of this exchange without its clients of all others.

`import ccxt.prediction` takes 3 s of CPU time and 83 MB, because ccxt's packages import a module for each exchange; the
modules that this client needs take 0.3 s and 21 MB (`python -m benchmarks.market_feed` measures both). While they
are imported, empty packages stand for those of ccxt. A later import of ccxt by other code finds the real packages.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any

PACKAGES = ("ccxt", "ccxt.async_support", "ccxt.prediction")


@contextmanager
def _bare_packages() -> Iterator[None]:
    """Packages of ccxt that import nothing but the names which its websocket modules take from `ccxt` itself."""
    try:
        for name in PACKAGES:
            spec = find_spec(name)
            if spec is None or spec.submodule_search_locations is None:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            package = ModuleType(name)
            package.__spec__, package.__path__ = spec, list(spec.submodule_search_locations)
            sys.modules[name] = package
        errors = vars(importlib.import_module("ccxt.base.errors"))
        names = {name: value for name, value in errors.items() if isinstance(value, type)}
        names["Exchange"] = importlib.import_module("ccxt.base.exchange").Exchange
        vars(sys.modules["ccxt"]).update(names)
        yield
    finally:
        for name in PACKAGES:
            sys.modules.pop(name, None)


def _kalshi() -> Any:
    """The class of the client."""
    if "ccxt" in sys.modules:
        return importlib.import_module("ccxt.prediction").kalshi
    with _bare_packages():
        return importlib.import_module("ccxt.prediction.kalshi").kalshi


kalshi: Any = _kalshi()
errors: Any = sys.modules["ccxt.base.errors"]
