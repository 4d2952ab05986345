"""What changed in a policy's document, in words where they can be told, else with the path.

A level is named only where it stands at its place before and after: when levels were moved, a place
says nothing about which of them it is.
"""

from collections.abc import Callable, Iterator
from typing import Any

from approvals.domain.durations import words

Path = tuple[str | int, ...]
_CHAINS = {"levels": "Level", "extension_levels": "Level of extensions"}
_LENGTHS = {"within": "answers within", "remind": "reminds every", "longest": "at most"}
_NUMBERS = {"quorum": "approvals needed", "reason_min": "characters of a reason"}
_FLAGS = {"ticket": "ticket needed", "auto_approve": "approved without a decision"}


def leaves(old: Any, new: Any, path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:
    """Yield the differing leaves of two documents, each with its path."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from leaves(old.get(key), new.get(key), (*path, key))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            was, now = (items[index] if index < len(items) else None for items in (old, new))
            yield from leaves(was, now, (*path, index))
    elif old != new:
        yield path, old, new


def path_words(label: str, path: Path) -> str:
    """Return the path as the policy's own errors write it."""
    return label + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)


def said(
    before: Any, after: Any, leaf: tuple[Path, Any, Any], value: Callable[[Any], str]
) -> str | None:
    """Return one change in words, `value` writing what is neither a length nor a number.

    None where it can't be told: another path, or one at which something else stood before.
    """
    path, old, new = leaf
    match path:
        case ("rules", int(rule), str(key)):
            where = _rule(before, after, rule)
        case ("rules", int(rule), str(chain), int(level), str(key)) if chain in _CHAINS:
            where = _level(before, after, (rule, chain, level))
        case ("rules", int(rule), str(chain), int(level), "escalate", int(step), "within" as key):
            where = _level(before, after, (rule, chain, level)) if chain in _CHAINS else None
            where = where and f"{where}, escalation {step + 1}"
        case _:
            return None
    told = _told(key, old, new, value)
    return f"{where}: {told}" if where and told else None


def _rule(before: Any, after: Any, index: int) -> str | None:
    name = _same_name(before, after, ("rules", index))
    return f"Rule “{name}”" if name else None


def _level(before: Any, after: Any, place: tuple[int, str, int]) -> str | None:
    rule, chain, level = place
    name = _same_name(before, after, ("rules", rule, chain, level))
    around = _rule(before, after, rule)
    if not name or not around:
        return None
    here = f"{_CHAINS[chain]} {level + 1} {name}"
    return here if len(after["rules"]) == 1 else f"{around}, {here[0].lower()}{here[1:]}"


def _same_name(before: Any, after: Any, path: Path) -> str:
    """Return the name of what stands at `path`, nothing unless it is the same before and after."""
    for key in path:
        try:
            before, after = before[key], after[key]
        except (KeyError, IndexError, TypeError):
            return ""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return ""
    name = after.get("name")
    return name if isinstance(name, str) and before.get("name") == name else ""


def _told(key: str, old: Any, new: Any, value: Callable[[Any], str]) -> str:
    if key in _LENGTHS and _whole(old) and _whole(new):
        return (
            f"{_LENGTHS[key]} {words(old) if old else 'never'} → {words(new) if new else 'never'}"
        )
    if key in _NUMBERS and _whole(old) and _whole(new):
        return f"{_NUMBERS[key]} {old} → {new}"
    if key in _FLAGS:
        return f"{_FLAGS[key]} {value(bool(old))} → {value(bool(new))}"
    return ""


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
