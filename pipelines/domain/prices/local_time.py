"""Local clocks: convert their times to UTC, and recognize them by their daylight-saving changes."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from pipelines.domain.prices.bars import Ints, instant_of_minute

#: Zones whose changes are looked for in times without an offset; other zones change at the same local times.
COMMON_ZONES = ("America/New_York", "Europe/London", "Europe/Berlin", "Europe/Athens", "Australia/Sydney")
#: In `utc_minutes`: the local time does not exist, or cannot be assigned to one of two instants.
NO_INSTANT = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Change:
    """A change of a zone's offset: `at` in minutes since 1970 UTC; offsets from UTC in minutes, before and after."""

    at: int
    before: int
    after: int

    @property
    def skipped(self) -> tuple[int, int]:
        """Local minutes (start, stop) that do not exist; empty unless clocks are put forward."""
        return self.at + self.before, self.at + self.after

    @property
    def repeated(self) -> tuple[int, int]:
        """Local minutes (start, stop) that come twice; empty unless clocks are put back."""
        return self.at + self.after, self.at + self.before


def zone_changes(zone: str, first: int, last: int) -> list[Change]:
    """Changes of a zone's offset between two minutes since 1970.

    Raises ValueError for an unknown zone.
    """
    try:
        info = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"unknown time zone {zone!r}: use a name such as America/New_York, or UTC") from error
    changes = []
    for day in range(first - first % 1440 - 1440, last + 2880, 1440):
        low, high = day, day + 1440
        before, after = _offset(info, low), _offset(info, high)
        if before == after:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _offset(info, middle) == before else (low, middle)
        changes.append(Change(high, before, after))
    return changes


def utc_minutes(local: Ints, zone: str) -> Ints:
    """Minutes since 1970 UTC of a zone's local minutes, which are in the order of the file.

    Of an hour that comes twice, the rows before its clock jumps back are the first and those after it the second; the
    file may be newest first. Minutes without such an order, and those that the zone skips, become NO_INSTANT.
    """
    if not len(local):
        return local
    changes = zone_changes(zone, int(local.min()), int(local.max()))
    starts = np.array([max(change.skipped[1], change.repeated[1]) for change in changes], dtype=np.int64)
    info = ZoneInfo(zone)
    offsets = np.array([_offset(info, int(local.min()) - 2880), *(change.after for change in changes)], dtype=np.int64)
    utc = local - offsets[np.searchsorted(starts, local, side="right")]
    newest_first = np.count_nonzero(np.diff(local) < 0) > len(local) / 2
    for change in changes:
        skipped, repeated = change.skipped, change.repeated
        utc[(local >= skipped[0]) & (local < skipped[1])] = NO_INSTANT
        (rows,) = np.nonzero((local >= repeated[0]) & (local < repeated[1]))
        if len(rows):
            ordered = rows[::-1] if newest_first else rows
            (jumps,) = np.nonzero(np.diff(local[ordered]) <= 0)
            if len(jumps) == 1:
                cut = int(jumps[0]) + 1
                utc[ordered[:cut]] = local[ordered[:cut]] - change.before
                utc[ordered[cut:]] = local[ordered[cut:]] - change.after
            else:
                utc[ordered] = NO_INSTANT
    return utc


def looks_local(minutes: Ints) -> str | None:
    """Why minutes without an offset look like a local clock, or None; `minutes`: strictly increasing, as if in UTC.

    The hour that a zone skips each spring is missing each time, and little more.
    """
    if len(minutes) < 2:
        return None
    first, last = int(minutes[0]), int(minutes[-1])
    for zone in COMMON_ZONES:
        gaps = [change.skipped for change in zone_changes(zone, first, last) if change.skipped[0] < change.skipped[1]]
        gaps = [gap for gap in gaps if first < gap[0] and gap[1] <= last]
        if gaps and all(_is_gap(minutes, gap) for gap in gaps):
            at = f"{instant_of_minute(gaps[0][0]):%Y-%m-%d %H:%M}"
            return f"the hour from {at} is missing as on a clock of {zone}"
    return None


def repeated_hour(minutes: Ints) -> str | None:
    """Which clock puts the hour of these repeated minutes back, or None; `minutes`: sorted, as if in UTC."""
    for zone in COMMON_ZONES:
        hours = [change.repeated for change in zone_changes(zone, int(minutes[0]), int(minutes[-1]))]
        inside = sum(np.count_nonzero((minutes >= start) & (minutes < stop)) for start, stop in hours)
        if inside >= 30 and inside > 0.9 * len(minutes):
            return zone
    return None


def _is_gap(minutes: Ints, gap: tuple[int, int]) -> bool:
    """Whether no bar lies in the gap, and one within ten minutes on both sides: quiet minutes are absent."""
    at = int(np.searchsorted(minutes, gap[0]))
    return bool(gap[0] - minutes[at - 1] <= 10 and 0 <= minutes[at] - gap[1] < 10)


def _offset(info: ZoneInfo, minute: int) -> int:
    offset = instant_of_minute(minute).astimezone(info).utcoffset()
    assert offset is not None
    return int(offset.total_seconds()) // 60
