"""The chain's cases: runs a case through the very functions that serve the portal.

Lives here: reading a case, playing its seconds, and saying where the product differs.
Doesn't live here: what is right; the case says that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

from approvals.domain import chain as chains
from approvals.domain import escalation
from approvals.domain.chain import Chain
from approvals.domain.documents import DocumentError, Node
from approvals.domain.escalation import Progress, Verdict, Vote
from approvals.domain.facts import Directory, Parties, Person, PersonKey

EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
AT_MAX_SECONDS = 1_000_000_000
ENTRIES_MAX = 100_000
ASKED = ("state", "level", "waiting_on", "missing", "due", "escalations", "reminders")


class CaseError(DocumentError):
    """A document is no case of the approval chain."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One answer that is not the expected one; `at` in seconds since submission."""

    case: str
    at: int
    what: str
    expected: object
    got: object


@dataclass(frozen=True, slots=True)
class _Change:
    at: int
    person: str
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Decision:
    at: int
    number: int
    actor: str
    verdict: Verdict
    expect: str | None


@dataclass(frozen=True, slots=True)
class _Ask:
    at: int
    expected: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Case:
    name: str
    people: Mapping[str, Mapping[str, object]]
    parties: Parties
    chain: Chain
    changes: tuple[_Change, ...]
    decisions: tuple[_Decision, ...]
    asks: tuple[_Ask, ...]


def run(case: dict[str, object]) -> list[Difference]:
    """Play a case and return where the product's answers differ from its expectations.

    Raises: CaseError, whose message starts with the path of the first fault.
    """
    read = _read(Node(case, "", CaseError))
    accepted: list[Vote] = []
    differences: list[Difference] = []
    seconds = sorted({x.at for x in read.decisions} | {x.at for x in read.asks})
    for at in seconds:
        directory = _directory(read, at)
        for decision in (x for x in read.decisions if x.at == at):
            got = _decide(read, directory, accepted, decision)
            if decision.expect is not None and got != decision.expect:
                what = f"decision {decision.number} ({decision.actor}: {decision.verdict})"
                differences.append(Difference(read.name, at, what, decision.expect, got))
        for ask in (x for x in read.asks if x.at == at):
            answer = _answer(read, directory, accepted, at)
            for key, expected in ask.expected.items():
                if not _same(expected, answer[key]):
                    differences.append(Difference(read.name, at, key, expected, answer[key]))
    return differences


def _same(expected: object, got: object) -> bool:
    """Compare as JSON does: true is not 1."""
    return expected == got and isinstance(expected, bool) == isinstance(got, bool)


def _moment(at: int) -> datetime:
    return EPOCH + timedelta(seconds=at)


def _second(moment: datetime) -> int:
    return chains.seconds(moment - EPOCH)


def _progress(case: _Case, accepted: list[Vote], at: int) -> Progress:
    return escalation.replay(case.chain, accepted, opened_at=EPOCH, now=_moment(at))


def _decide(case: _Case, directory: Directory, accepted: list[Vote], decision: _Decision) -> str:
    progress = _progress(case, accepted, decision.at)
    reason = escalation.refusal(case.chain, progress, case.parties, directory, decision.actor)
    if reason is not None:
        return f"refused:{reason}"
    accepted.append(Vote(decision.actor, decision.verdict, _moment(decision.at)))
    return "accepted"


def _answer(case: _Case, directory: Directory, accepted: list[Vote], at: int) -> dict[str, object]:
    progress = _progress(case, accepted, at)
    waiting_on = escalation.electorate(case.chain, progress, case.parties, directory)
    return {
        "state": progress.state,
        "level": progress.level,
        "waiting_on": sorted(str(key) for key in waiting_on),
        "missing": progress.missing,
        "due": None if progress.due_at is None else _second(progress.due_at),
        "escalations": progress.escalations,
        "reminders": [_second(moment) for moment in progress.reminders],
    }


def _directory(case: _Case, at: int) -> Directory:
    """Return the directory as it stands at that second, after its changes."""
    fields: dict[str, dict[str, object]] = {k: dict(v) for k, v in case.people.items()}
    for change in case.changes:
        if change.at <= at:
            unknown: dict[str, object] = {"active": False}
            fields.setdefault(change.person, unknown).update(change.fields)
    people: dict[PersonKey, Person] = {
        key: Person(
            key=key,
            manager=cast("str | None", found.get("manager")),
            groups=cast("frozenset[str]", found.get("groups", frozenset())),
            active=cast(bool, found.get("active", True)),
        )
        for key, found in fields.items()
    }
    return Directory(people, {key: key for key in fields})


def _read(node: Node) -> _Case:
    fields = node.fields(
        required=("name", "people", "requester", "subject", "chain"),
        optional=("owner", "changes", "decisions", "ask"),
        open_=True,
    )
    chain_node = fields["chain"]
    parties = Parties(
        requester=fields["requester"].name(),
        subject=fields["subject"].name(),
        owner=_name_or_none(fields["owner"]) if "owner" in fields else None,
    )
    people = fields["people"].members(what="the name")
    return _Case(
        name=fields["name"].text(),
        people={key: _person(found) for key, found in people.items()},
        parties=parties,
        chain=chains.read(chain_node),
        changes=tuple(sorted(map(_change, _list(fields, "changes")), key=lambda x: x.at)),
        decisions=tuple(
            _decision(found, number)
            for number, found in enumerate(_list(fields, "decisions"), start=1)
        ),
        asks=tuple(map(_ask, _list(fields, "ask"))),
    )


def _list(fields: dict[str, Node], key: str) -> list[Node]:
    return fields[key].items(most=ENTRIES_MAX) if key in fields else []


def _at(node: Node) -> int:
    return node.whole(least=0, most=AT_MAX_SECONDS)


def _name_or_none(node: Node) -> str | None:
    return None if node.value is None else node.name()


def _person(node: Node) -> dict[str, object]:
    fields = node.fields(optional=("manager", "groups", "active"))
    person: dict[str, object] = {}
    if "manager" in fields:
        person["manager"] = _name_or_none(fields["manager"])
    if "groups" in fields:
        groups = fields["groups"].items(most=ENTRIES_MAX)
        person["groups"] = frozenset(group.name() for group in groups)
    if "active" in fields:
        person["active"] = fields["active"].flag()
    return person


def _change(node: Node) -> _Change:
    fields = node.fields(required=("at", "person", "set"))
    return _Change(_at(fields["at"]), fields["person"].name(), _person(fields["set"]))


def _decision(node: Node, number: int) -> _Decision:
    fields = node.fields(required=("at", "actor", "verdict"), optional=("expect",))
    return _Decision(
        at=_at(fields["at"]),
        number=number,
        actor=fields["actor"].name(),
        verdict=cast(Verdict, fields["verdict"].choice(("approve", "deny"))),
        expect=fields["expect"].text() if "expect" in fields else None,
    )


def _ask(node: Node) -> _Ask:
    fields = node.fields(required=("at",), optional=ASKED)
    expected = {key: found.value for key, found in fields.items() if key != "at"}
    return _Ask(at=_at(fields["at"]), expected=expected)
