"""Template tags and filters of the portal's pages; loaded in every template.

Filters:
  value|duration          timedelta or seconds → “1 h 12 m”
  seconds|usually         “usually 9 m”, “usually under a minute”
  moment|ago              <time> “3 m ago”, “in 11 m”, “yesterday”, “22 Nov”; or |ago:now
  moment|clock            <time> “16:40”, with the day in front where it isn't today
  moment|clock_seconds    <time> “14:52:07”, likewise
  moment|clock_ms         <time> “14:52:07.071”, likewise
  moment|day              <time> “15:09” today, “yesterday”, “22 Nov”, “22 Nov 2024”
  state|state_word        the word that people read for a state
  name|initials           one or two letters for an avatar
  text|quoted             “text”, or nothing when it is empty
Every <time> has the full moment, in the person's timezone, as its title.

Tags:
  {% due at now words="escalates" %}    “escalates in 11 m”, amber when soon; “4 m late” in red;
                                        without words just “11 m”; portal.js counts it down
  {% current "url name" … %}            aria-current="page" on the page's own link
  {% chain_levels view as levels %}     selectors.levels.LevelLine of each; used by _chain.html
  {% time_left record now as left %}    seconds, total, soon; used by _time_left.html
  {% form_key %}                        a hidden field by which a form that is sent twice is told
  {% timezone_name %}                   the timezone that times are written in
  {% now_iso %}                         the page's `now`, from which portal.js counts
`now` may be missing in the context: then the web host's clock is taken, for words only.
"""

import uuid
from datetime import datetime, timedelta
from typing import Any

from django import template
from django.template import Context
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from approvals.domain.durations import words
from approvals.selectors import levels

register = template.Library()

_STATES = {
    "pending": "Pending",
    "approved": "Approved",
    "active": "Active",
    "revoking": "Being removed",
    "denied": "Denied",
    "cancelled": "Cancelled",
    "lapsed": "Lapsed",
    "failed": "Failed",
    "expired": "Expired",
    "revoked": "Revoked",
}


@register.filter
def duration(value: timedelta | float | None) -> str:
    """Return a length in words; nothing for None."""
    return "" if value is None or value == "" else words(value)


@register.filter
def usually(seconds: float | None, doing: str = "") -> str:
    """Return how long it usually takes, or is held, not more exactly than it is worth."""
    if seconds is None:
        return ""
    length = words(seconds // 60 * 60) if seconds >= 60 else "under a minute"
    return f"usually {doing}{length}"


@register.filter
def ago(moment: datetime | None, now: datetime | str | None = None) -> SafeString:
    """Return how long ago, or until when."""
    if not isinstance(moment, datetime):
        return SafeString("")
    current = _now(now)
    seconds = (current - moment).total_seconds()
    if -86_400 < seconds < 0:
        return _time(moment, f"in {words(-seconds)}", ticks=True)
    if 0 <= seconds < 5:
        return _time(moment, "just now", ticks=True)
    if 0 <= seconds < 12 * 3_600:
        said = words(seconds if seconds < 60 else seconds // 60 * 60)
        return _time(moment, f"{said} ago", ticks=True)
    return _time(moment, _day(moment, current))


@register.filter
def clock(moment: datetime | None, now: datetime | str | None = None) -> SafeString:
    """Return hours and minutes, with the day where it isn't today."""
    return _clock(moment, "%H:%M", now)


@register.filter
def clock_seconds(moment: datetime | None, now: datetime | str | None = None) -> SafeString:
    """Return the time to the second, with the day where it isn't today."""
    return _clock(moment, "%H:%M:%S", now)


@register.filter
def clock_ms(moment: datetime | None, now: datetime | str | None = None) -> SafeString:
    """Return the time to the millisecond, with the day where it isn't today."""
    if not isinstance(moment, datetime):
        return SafeString("")
    return _clock(moment, f"%H:%M:%S.{moment.microsecond // 1000:03d}", now)


@register.filter
def day(moment: datetime | None, now: datetime | str | None = None) -> SafeString:
    """Return the time today, otherwise the day."""
    if not isinstance(moment, datetime):
        return SafeString("")
    current = _now(now)
    local = timezone.localtime(moment)
    if local.date() == timezone.localtime(current).date():
        return _time(moment, f"{local:%H:%M}")
    return _time(moment, _day(moment, current))


@register.filter
def state_word(state: str) -> str:
    """Return the word for a state."""
    return _STATES.get(str(state), str(state))


@register.filter
def initials(name: str) -> str:
    """Return the first letters of the first and the last word."""
    parts = str(name).split()
    return "".join(part[0] for part in (parts[:1] + parts[1:][-1:])).upper()


@register.filter
def quoted(text: str) -> SafeString:
    """Return the text in quotation marks, so that its direction can't turn what follows."""
    return format_html("“<bdi>{}</bdi>”", text) if text else SafeString("")


@register.filter
def breakable(path: str) -> SafeString:
    """Return a path or a name with slashes, which a narrow column breaks after a slash."""
    return format_html_join(mark_safe("/<wbr>"), "{}", ((part,) for part in path.split("/")))


@register.simple_tag
def due(at: datetime | None, now: datetime | str | None = None, words: str = "") -> SafeString:
    """Return when something happens by itself, and how pressing that is."""
    if not isinstance(at, datetime):
        return SafeString("")
    seconds = (at - _now(now)).total_seconds()
    if seconds <= 0:
        text, kind = f"{duration(-seconds)} late", " late"
    else:
        text = f"{words} in {duration(seconds)}" if words else duration(seconds)
        kind = " soon" if seconds < 900 else ""
    return format_html(
        '<time class="due num{}" datetime="{}" title="{}" data-until="{}" data-words="{}">{}'
        "</time>",
        kind,
        at.isoformat(),
        _title(at),
        at.isoformat(),
        f"{words} in " if words else "",
        text,
    )


@register.simple_tag(takes_context=True)
def current(context: Context, *names: str) -> SafeString:
    """Return aria-current for a link to the page that is open."""
    match = getattr(context.get("request"), "resolver_match", None)
    here = match is not None and match.url_name in names
    return mark_safe('aria-current="page"') if here else SafeString("")


@register.simple_tag(takes_context=True)
def chain_levels(context: Context, view: Any) -> list[levels.LevelLine]:
    """Return the chain's levels as the viewer reads them."""
    user = getattr(context.get("request"), "user", None)
    return levels.describe(
        view,
        viewer=user.pk if user is not None else None,
        is_preview=bool(context.get("is_preview")),
    )


@register.simple_tag
def form_key() -> SafeString:
    """Return the hidden field that makes a form that is sent twice happen once."""
    return format_html('<input type="hidden" name="form_key" value="{}">', uuid.uuid4())


@register.simple_tag
def time_left(record: Any, now: datetime | str | None = None) -> dict[str, Any]:
    """Return the seconds left and in all of active access, and whether it ends soon."""
    seconds = max(0, int((record.ends_at - _now(now)).total_seconds()))
    total = record.duration_seconds
    return {"seconds": seconds, "total": total, "soon": seconds <= total / 5}


@register.simple_tag(takes_context=True)
def now_iso(context: Context) -> str:
    """Return the moment that the page was made for, by the database's clock where it asked it."""
    return _now(context.get("now")).isoformat()


@register.simple_tag
def timezone_name() -> str:
    """Return the timezone that is active."""
    return timezone.get_current_timezone_name()


def _now(given: datetime | str | None) -> datetime:
    return given if isinstance(given, datetime) else timezone.now()


def _clock(moment: datetime | None, pattern: str, now: datetime | str | None) -> SafeString:
    if not isinstance(moment, datetime):
        return SafeString("")
    current = _now(now)
    local = timezone.localtime(moment)
    text = local.strftime(pattern)
    if local.date() != timezone.localtime(current).date():
        text = f"{_day(moment, current)} {text}"
    return _time(moment, text)


def _day(moment: datetime, now: datetime) -> str:
    local, today = timezone.localtime(moment).date(), timezone.localtime(now).date()
    days = (local - today).days
    near = {-1: "yesterday", 0: "today", 1: "tomorrow"}
    if days in near:
        return near[days]
    text = f"{local.day} {local:%b}"
    return text if local.year == today.year else f"{text} {local.year}"


def _title(moment: datetime) -> str:
    local = timezone.localtime(moment)
    return f"{local:%A} {local.day} {local:%B %Y, %H:%M:%S.%f}"[:-3] + f" {local:%Z}"


def _time(moment: datetime, text: str, *, ticks: bool = False) -> SafeString:
    """Return the moment; where it `ticks`, portal.js says it anew as time passes."""
    return format_html(
        '<time datetime="{}" title="{}"{}>{}</time>',
        moment.isoformat(),
        _title(moment),
        mark_safe(" data-ago") if ticks else "",
        text,
    )
