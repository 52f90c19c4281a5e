"""Report on the console of `strikecast up` the alerts that the watchdog evaluates in another process."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from pipelines.domain.monitoring.alerts import Alert
from pipelines.log import Log
from pipelines.monitoring.alert_delivery import BY_UP, read_state
from pipelines.settings import Settings


@dataclass
class WatchdogAlerts:
    """The alerts that were active at the last call."""

    settings: Settings
    log: Log
    _active: dict[str, Alert] = field(default_factory=dict)

    def report(self, now: datetime) -> None:
        """Log each alert that has begun or ended since. Raises StateError when the stored state cannot be read."""
        stored = read_state(self.settings, now).active
        active = {key: one for key, one in stored.items() if not key.startswith(BY_UP)}
        began = [one for key, one in active.items() if key not in self._active]
        ended = [replace(one, ended_at=now) for key, one in self._active.items() if key not in active]
        self._active = active
        for one in (*began, *ended):
            self.log(f"{one.title}: {one.text}")
