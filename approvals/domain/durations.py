"""Durations as people write and read them.

Lives here: `parse`, which reads what is typed into a form or a link, and `words`, which says a
length in its two largest units. Which lengths a policy allows is not known here.
"""

import re
from datetime import timedelta

LONGEST = timedelta(days=3650)
"""More than this is taken for a slip of the pen."""
TEXT_MOST = 60

_SECONDS = {
    **dict.fromkeys(["s", "sec", "secs", "second", "seconds"], 1),
    **dict.fromkeys(["m", "min", "mins", "minute", "minutes"], 60),
    **dict.fromkeys(["h", "hr", "hrs", "hour", "hours"], 3_600),
    **dict.fromkeys(["d", "day", "days"], 86_400),
    **dict.fromkeys(["w", "week", "weeks"], 604_800),
}
_PART = re.compile(r"(\d{1,9}(?:[.,]\d{1,6})?)\s*([a-z]+)\s*(?:,|and\b)?\s*", re.ASCII)
_HOURS_AND_MINUTES = re.compile(r"(\d{1,5})\s*h\s*([0-5]?\d)", re.ASCII)
_CLOCK = re.compile(r"(\d{1,5}):([0-5]\d)(?::([0-5]\d))?", re.ASCII)
_ISO = re.compile(
    r"p(?:(\d{1,5})w|(?:(\d{1,5})d)?(?:t(?:(\d{1,6})h)?(?:(\d{1,7})m)?(?:(\d{1,9})s)?)?)", re.ASCII
)


class DurationError(ValueError):
    """A text is no duration; the message says how to write one."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or "Write a duration such as 90m, 2h, 1h30 or 1 day.")


def parse(text: str) -> timedelta:
    """Return the length that `text` means, positive and in whole seconds.

    `90m`, `2 h`, `1h30`, `1.5 hours`, `1 day and 2 hours`, `1:30` (hours and minutes) and ISO 8601
    (`PT2H`, `P1DT30M`, `P1W`) are read; a bare number is not, because its unit would be a guess.

    Raises: DurationError.
    Source: ISO 8601-1 §5.5.2, without years and months, whose length is not fixed.
    """
    if len(text) > TEXT_MOST:
        raise DurationError
    cleaned = text.strip().lower()
    if re.fullmatch(r"[\d.,]+", cleaned, re.ASCII):
        raise DurationError("Add a unit: 90m, 2h or 1 day.")
    total = _iso(cleaned) or _clock(cleaned) or _parts(cleaned)
    if total is None:
        raise DurationError
    if total <= 0:
        raise DurationError("The duration must be longer than nothing.")
    if total != int(total):
        raise DurationError("Use whole seconds.")
    if total > LONGEST.total_seconds():
        raise DurationError("That is longer than ten years. Ask for less.")
    return timedelta(seconds=int(total))


def _iso(text: str) -> float | None:
    found = _ISO.fullmatch(text)
    if found is None or text in {"p", "pt"} or text.endswith("t"):
        return None
    weeks, days, hours, minutes, seconds = (int(x or 0) for x in found.groups())
    return weeks * 604_800 + days * 86_400 + hours * 3_600 + minutes * 60 + seconds


def _clock(text: str) -> float | None:
    if found := _HOURS_AND_MINUTES.fullmatch(text) or _CLOCK.fullmatch(text):
        hours, minutes, *rest = (int(x or 0) for x in found.groups())
        return hours * 3_600 + minutes * 60 + (rest[0] if rest else 0)
    return None


def _parts(text: str) -> float | None:
    total, position, last_unit = 0.0, 0, 0
    while position < len(text):
        found = _PART.match(text, position)
        unit = _SECONDS.get(found[2]) if found else None
        # Units go from large to small, each once: "2h 2h" and "5m 1h" are slips.
        if found is None or unit is None or (last_unit and unit >= last_unit):
            return None
        total += float(found[1].replace(",", ".")) * unit
        position, last_unit = found.end(), unit
    if not last_unit or re.search(r"(,|\band)\s*$", text):
        return None
    return round(total, 6)


def words(length: timedelta | float) -> str:
    """Return a length (or a number of seconds) in its two largest units: `1 h 12 m`, `45 s`.

    What is smaller is cut off, not rounded up, so that time left is never said too long. Seconds
    are said below ten minutes only. Negative lengths count as nothing.
    """
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    left = max(0, int(seconds))
    days, rest = divmod(left, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, rest = divmod(rest, 60)
    if days:
        pair = ((days, "d"), (hours, "h"))
    elif hours:
        pair = ((hours, "h"), (minutes, "m"))
    elif minutes >= 10:
        pair = ((minutes, "m"), (0, "s"))
    else:
        pair = ((minutes, "m"), (rest, "s"))
    return " ".join(f"{count} {unit}" for count, unit in pair if count) or "0 s"
