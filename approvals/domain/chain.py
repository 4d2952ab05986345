"""The approval chain: its levels, where approvers come from, its document form.

Lives here: the chain as a value, parsed strictly and dumped, and what a source means.
Doesn't live here: time, votes and who may decide (`escalation`); who gets which chain (`policy`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, cast

from approvals.domain.documents import DocumentError, Node
from approvals.domain.facts import Directory, Parties, PersonKey

LEVELS_MAX = 20
STEPS_MAX = 20
SOURCES_MAX = 50
QUORUM_MAX = 1_000
MANAGER_DEPTH_MAX = 50
WITHIN_MAX_SECONDS = 10 * 365 * 86_400
REMINDERS_MAX = 10_000
"""Reminders between two due moments; more is a slip of the pen, not a wish."""

SourceKind = Literal["manager", "owner", "group", "person"]
KINDS: tuple[SourceKind, ...] = ("manager", "owner", "group", "person")


class ChainError(DocumentError):
    """A document is no approval chain."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where approvers come from. `of` counts managers upwards; `name` is a group or a login."""

    kind: SourceKind
    of: int = 1
    name: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One escalation: who is asked then, for how long, and whether the earlier ones still may."""

    to: tuple[Source, ...]
    within: timedelta
    keep: bool


@dataclass(frozen=True, slots=True)
class Level:
    """One level: `quorum` approvals of people of `sources`, due `within` after its opening."""

    name: str
    sources: tuple[Source, ...]
    fallback: tuple[Source, ...]
    quorum: int
    within: timedelta
    remind: timedelta | None
    escalate: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """Levels in order, and who fills up any of them at last. Has at least one level."""

    levels: tuple[Level, ...]
    last_resort: tuple[Source, ...]

    def sources(self) -> Iterator[Source]:
        """Yield every source that is named anywhere in the chain."""
        for level in self.levels:
            yield from level.sources
            yield from level.fallback
            for step in level.escalate:
                yield from step.to
        yield from self.last_resort


def parse(document: object) -> Chain:
    """Return the chain that a JSON document describes; nothing in it is guessed or ignored.

    Raises: ChainError, whose message starts with the path of the first fault.
    """
    return read(Node(document, "", ChainError))


def read(node: Node) -> Chain:
    """Return the chain at `node`, an object with `levels` and perhaps `last_resort`.

    Raises: the node's error.
    """
    fields = node.fields(required=("levels",), optional=("last_resort",))
    return read_fields(fields)


def read_fields(fields: dict[str, Node]) -> Chain:
    """Return the chain whose `levels` and `last_resort` stand among other fields.

    Raises: the nodes' error.
    """
    levels = tuple(_level(x) for x in fields["levels"].items(least=1, most=LEVELS_MAX))
    return Chain(levels=levels, last_resort=_sources(fields.get("last_resort"), least=0))


def _level(node: Node) -> Level:
    fields = node.fields(
        required=("name", "from", "quorum", "within"), optional=("fallback", "remind", "escalate")
    )
    steps: tuple[Step, ...] = ()
    if "escalate" in fields:
        steps = tuple(_step(x) for x in fields["escalate"].items(most=STEPS_MAX))
    level = Level(
        name=fields["name"].name(),
        sources=_sources(fields["from"], least=1),
        fallback=_sources(fields.get("fallback"), least=0),
        quorum=fields["quorum"].whole(least=1, most=QUORUM_MAX),
        within=_seconds(fields["within"], least=1),
        remind=_seconds(fields["remind"], least=0) or None if "remind" in fields else None,
        escalate=steps,
    )
    if level.remind is not None:
        longest = max([level.within, *(step.within for step in level.escalate)])
        if longest / level.remind > REMINDERS_MAX:
            raise fields["remind"].fail(f"gives more than {REMINDERS_MAX:,} reminders")
    return level


def _step(node: Node) -> Step:
    fields = node.fields(required=("to", "within", "keep"))
    return Step(
        to=_sources(fields["to"], least=1),
        within=_seconds(fields["within"], least=1),
        keep=fields["keep"].flag(),
    )


def _sources(node: Node | None, *, least: int) -> tuple[Source, ...]:
    if node is None:
        return ()
    return tuple(_source(x) for x in node.items(least=least, most=SOURCES_MAX))


def _source(node: Node) -> Source:
    fields = node.fields(required=("kind",), optional=("of", "name"))
    kind = cast(SourceKind, fields["kind"].choice(KINDS))
    if kind != "manager" and "of" in fields:
        raise fields["of"].fail(f"has no meaning for the kind {kind}")
    if kind in ("manager", "owner") and "name" in fields:
        raise fields["name"].fail(f"has no meaning for the kind {kind}")
    if kind == "manager":
        of = fields["of"].whole(least=1, most=MANAGER_DEPTH_MAX) if "of" in fields else 1
        return Source(kind=kind, of=of)
    if kind == "owner":
        return Source(kind=kind)
    if "name" not in fields:
        raise node.fail("lacks the key 'name'")
    return Source(kind=kind, name=fields["name"].name())


def _seconds(node: Node, *, least: int) -> timedelta:
    return timedelta(seconds=node.whole(least=least, most=WITHIN_MAX_SECONDS))


def dump(chain: Chain) -> dict[str, object]:
    """Return the document that `parse` turns into this very chain; times in whole seconds."""
    return {
        "levels": [
            {
                "name": level.name,
                "from": _dump_sources(level.sources),
                "fallback": _dump_sources(level.fallback),
                "quorum": level.quorum,
                "within": seconds(level.within),
                "remind": seconds(level.remind) if level.remind else 0,
                "escalate": [
                    {
                        "to": _dump_sources(step.to),
                        "within": seconds(step.within),
                        "keep": step.keep,
                    }
                    for step in level.escalate
                ],
            }
            for level in chain.levels
        ],
        "last_resort": _dump_sources(chain.last_resort),
    }


def seconds(length: timedelta) -> int:
    """Return a length in whole seconds."""
    return length // timedelta(seconds=1)


def _dump_sources(sources: tuple[Source, ...]) -> list[dict[str, object]]:
    return [_dump_source(source) for source in sources]


def _dump_source(source: Source) -> dict[str, object]:
    document: dict[str, object] = {"kind": source.kind}
    if source.kind == "manager" and source.of != 1:
        document["of"] = source.of
    if source.kind in ("group", "person"):
        document["name"] = source.name
    return document


def resolve(source: Source, parties: Parties, directory: Directory) -> frozenset[PersonKey]:
    """Return whom a source means now, active or not; exclusions come later (`electorate`).

    Managers are those of the subject, walked up `of` times: in a circle the walk goes round it, and
    a line that ends early leads to nobody.
    """
    match source.kind:
        case "manager":
            line = _managers(parties.subject, source.of, directory)
            return frozenset(line[source.of - 1 : source.of])
        case "owner":
            return _one(parties.owner)
        case "group":
            return directory.in_group(source.name)
        case "person":
            return _one(directory.by_login(source.name))


def dependencies(chain: Chain, parties: Parties, directory: Directory) -> frozenset[str]:
    """Return keys such that nobody's right to decide changes while none of these does.

    `p:<key>` a person's manager or activity (the subject, managers on the way, the owner,
    named people), `g:<name>` a group's membership or a member's activity, `o:resource` who
    owns the resource, `l:<login>` who signs in as a named person.
    """
    people: set[PersonKey] = {parties.subject}
    keys: set[str] = set()
    for source in chain.sources():
        match source.kind:
            case "manager":
                people.update(_managers(parties.subject, source.of, directory))
            case "owner":
                keys.add("o:resource")
                people.update(resolve(source, parties, directory))
            case "group":
                keys.add(f"g:{source.name}")
            case "person":
                keys.add(f"l:{source.name}")
                people.update(resolve(source, parties, directory))
    return frozenset(keys | {f"p:{key}" for key in people})


def _managers(subject: PersonKey, depth: int, directory: Directory) -> list[PersonKey]:
    """Return the line of managers above the subject, nearest first, `depth` of them or fewer."""
    line: list[PersonKey] = []
    person = directory.get(subject)
    while len(line) < depth and person is not None and person.manager is not None:
        line.append(person.manager)
        person = directory.get(person.manager)
    return line


def _one(key: PersonKey | None) -> frozenset[PersonKey]:
    return frozenset() if key is None else frozenset({key})
