"""How a policy is written and read in the admin: its times in words, its rules as a list."""

import json
from collections.abc import Iterator
from typing import Any

from django.core.exceptions import ValidationError
from django.template.loader import render_to_string

from approvals.admin.documents import DocumentField
from approvals.domain import chain as chains
from approvals.domain import durations
from approvals.domain import policy as policies

#: The keys of a document whose values are lengths of time.
_LENGTHS = ("longest", "within", "remind")


class PolicyField(DocumentField):
    """A policy's document. Lengths may be written as `4h` or in seconds; seconds are stored."""

    def to_python(self, value: Any) -> Any:
        """Return the object with its lengths in seconds. Raises: ValidationError."""
        found = super().to_python(value)
        if isinstance(value, str):  # what was read just now is nobody else's
            for path, fields, key in _lengths(found):
                if isinstance(fields[key], str):
                    fields[key] = _seconds(path, fields[key])
        return found

    def prepare_value(self, value: Any) -> Any:
        """Return the text that is shown: indented, lengths as people write them."""
        if not isinstance(value, str):
            value = json.loads(json.dumps(value))
            for _, fields, key in _lengths(value):
                fields[key] = _written(fields[key])
        return super().prepare_value(value)


def _lengths(document: Any) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield each length's path, the object that holds it, and its key."""
    left: list[tuple[str, Any]] = [("", document)]
    while left:
        path, value = left.pop()
        if isinstance(value, list):
            left += [(f"{path}[{number}]", each) for number, each in enumerate(value)]
        elif isinstance(value, dict):
            for key in value:
                inner = f"{path}.{key}" if path else key
                left.append((inner, value[key]))
                if key in _LENGTHS:
                    yield inner, value, key


def _seconds(path: str, text: str) -> int:
    try:
        return int(durations.parse(text).total_seconds())
    except durations.DurationError as error:
        raise ValidationError(f"{path}: {error}") from error


def _written(value: Any) -> Any:
    """Return a whole number of seconds in the largest unit that it is a multiple of."""
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        return value
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if value % size == 0:
            return f"{value // size}{unit}"
    return f"{value}s"


def as_list(document: Any) -> str:
    """Return the rules of a document and their levels as HTML; "" for one that is no policy."""
    try:
        policy = policies.parse(document)
    except policies.PolicyError:
        return ""
    return render_to_string(
        "admin/approvals/policy_rules.html", {"rules": [_rule(rule) for rule in policy.rules]}
    )


def _rule(rule: policies.Rule) -> dict[str, Any]:
    levels = rule.chain.levels if rule.chain else ()
    return {
        "name": rule.name,
        "who": "Everyone" if rule.groups is None else ", ".join(sorted(rule.groups)),
        "longest": rule.longest,
        "ticket": rule.ticket,
        "levels": [_level(level) for level in levels],
    }


def _level(level: chains.Level) -> dict[str, Any]:
    return {
        "name": level.name,
        "people": _people(level.sources),
        "quorum": level.quorum,
        "within": level.within,
        "steps": [(_people(step.to), step.within) for step in level.escalate],
    }


def _people(sources: tuple[chains.Source, ...]) -> str:
    return " or ".join(_source(source) for source in sources)


def _source(source: chains.Source) -> str:
    if source.kind == "manager":
        return "the manager" + "’s manager" * (source.of - 1)
    if source.kind == "owner":
        return "the resource’s owner"
    return f"the group {source.name}" if source.kind == "group" else source.name
