"""Times, lengths and names as sentences say them, for mails. Pages say them shorter."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

#: Times nearer than this are said to the second.
_NEAR = timedelta(minutes=10)
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


@dataclass(frozen=True)
class Clock:
    """Says moments as one person reads them: in their timezone, seen from `now`."""

    zone: ZoneInfo
    now: datetime

    def at(self, moment: datetime) -> str:
        """Return "15:20 CET", with seconds when it is near and the day when it isn't today."""
        return self._say(moment, seconds=abs(moment - self.now) < _NEAR)

    def exactly(self, moment: datetime) -> str:
        """Return the moment to the second, with the day when it isn't today."""
        return self._say(moment, seconds=True)

    def away(self, moment: datetime) -> str:
        """Return "in 30 minutes", "30 minutes ago" or "now"."""
        length = about(abs(moment - self.now))
        if abs(moment - self.now) < timedelta(seconds=1):
            return "now"
        return f"in {length}" if moment > self.now else f"{length} ago"

    def _say(self, moment: datetime, *, seconds: bool) -> str:
        local, today = moment.astimezone(self.zone), self.now.astimezone(self.zone)
        name = local.tzname() or ""
        parts = [
            "" if local.date() == today.date() else f"{local:%a} {local.day} {local:%b}",
            "" if local.year == today.year else str(local.year),
            f"{local:%H:%M:%S}" if seconds else f"{local:%H:%M}",
            f"UTC{name}" if name.startswith(("+", "-")) else name,
        ]
        return " ".join(part for part in parts if part)


def words(length: timedelta) -> str:
    """Return a length exactly, to the second: "1 hour 30 minutes"."""
    left = max(0, round(length.total_seconds()))
    said: list[str] = []
    for unit, size in _UNITS:
        number, left = divmod(left, size)
        if number:
            said.append(f"{number} {unit}{'' if number == 1 else 's'}")
    return " ".join(said) or "0 seconds"


def about(length: timedelta) -> str:
    """Return a length roughly: to the second below 90 of them, to the minute below a day."""
    seconds = length.total_seconds()
    step = 1 if seconds < 90 else 60 if seconds < 86_400 else 3_600
    return words(timedelta(seconds=round(seconds / step) * step))


def lag(length: timedelta) -> str:
    """Return a short measured length: to a tenth of a second below ten seconds."""
    seconds = max(0.0, length.total_seconds())
    if seconds < 0.05:
        return "less than 0.1 seconds"
    return f"{seconds:.1f} seconds" if seconds < 10 else about(length)


def listed(names: Iterable[str], word: str, *, most: int = 4) -> str:
    """Return "A, B or C"; from the fifth on they are counted."""
    said = list(names)
    if len(said) > most:
        said = [*said[: most - 1], f"{len(said) - most + 1} others"]
    return f" {word} ".join([", ".join(said[:-1]), said[-1]] if len(said) > 1 else said)


def clean(text: str) -> str:
    """Return what people wrote without the characters that could make a mail lie.

    Control characters and those that reverse the writing direction go; lines stay.
    """
    lines = "\n".join(text.splitlines())
    return "".join(
        char
        for char in lines
        if char in "\n\t"
        or (unicodedata.category(char) not in {"Cc", "Cs"} and not _reverses(char))
    ).strip()


def _reverses(char: str) -> bool:
    return "\u202a" <= char <= "\u202e" or "\u2066" <= char <= "\u2069"


def short(text: str, most: int) -> str:
    """Return the text on one line, of `most` characters at most."""
    line = " ".join(clean(text).split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"
