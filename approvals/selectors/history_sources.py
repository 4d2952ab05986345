"""Where the audit search looks: each table of the history, its newest-first index, its conditions.

A source turns what is searched for into arms of a UNION. Each arm walks one index and stops early.
"""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

CONFIGURATION = (
    "user", "group", "membership", "resource", "entitlement", "policy", "reportschedule",
    "publickey",
)  # fmt: skip


class Position(NamedTuple):
    """Where an entry stands in the one order of the whole history: time, source, row."""

    at: datetime
    rank: int
    id: int


class System(NamedTuple):
    """A resource, or one entitlement of it: what a search for a system means."""

    resource_id: int
    entitlement_ids: tuple[int, ...]


class Arm(NamedTuple):
    """One SELECT of (rank, at, id) in newest-first order, without its LIMIT."""

    sql: str
    parameters: list[Any]


class Condition(NamedTuple):
    """An SQL condition and its parameters."""

    sql: str
    parameters: list[Any]


@dataclass(frozen=True)
class Criteria:
    """What is looked for; everything that is given must hold. `kinds` empty means every kind."""

    requests: frozenset[uuid.UUID] | None = None
    people: tuple[int, ...] = ()
    systems: tuple[System, ...] = ()
    words: tuple[str, ...] = ()
    since: datetime | None = None
    kinds: frozenset[str] = frozenset()
    impossible: bool = False

    @property
    def is_narrowed(self) -> bool:
        """Return whether rows may have to be read and passed over."""
        return bool(self.requests is not None or self.people or self.systems or self.words)


@dataclass(frozen=True)
class Source:
    """One table of the history. `person_arms` are alternatives, each with an index of its own.

    `request` is the column that a search for an id looks in: the request's, or the record's own.
    """

    name: str
    rank: int
    table: str
    at: str
    id: str
    kinds: dict[str, str]
    person_arms: tuple[str, ...]
    system: str | None
    request: str | None
    words: str

    def arms(self, criteria: Criteria, before: Position | None) -> Iterator[Arm]:
        """Yield the SELECTs that find this source's part of a page; none if it can't match."""
        conditions = self._conditions(criteria)
        if conditions is None:
            return
        conditions += self._bounds(criteria.since, before)
        first, *others = criteria.people or (None,)
        any_arm = f"({' OR '.join(self.person_arms)})"
        conditions += [Condition(any_arm, [person] * len(self.person_arms)) for person in others]
        alternatives = [Condition(arm, [first]) for arm in self.person_arms] if first else [None]
        for alternative in alternatives:
            chosen = [*conditions, *([alternative] if alternative else [])]
            where = " AND ".join(condition.sql for condition in chosen) or "true"
            yield Arm(
                f"SELECT {self.rank} AS rank, {self.at} AS at, {self.id}::bigint AS id"  # noqa: S608
                f" FROM {self.table} WHERE {where} ORDER BY {self.at} DESC, {self.id} DESC",
                [value for condition in chosen for value in condition.parameters],
            )

    def _conditions(self, criteria: Criteria) -> list[Condition] | None:
        found: list[Condition] = []
        if criteria.kinds:
            fitting = [sql for kind, sql in self.kinds.items() if kind in criteria.kinds]
            if not fitting:
                return None
            if "true" not in fitting:
                found.append(Condition(f"({' OR '.join(fitting)})", []))
        if criteria.requests is not None:
            if self.request is None:
                return None
            found.append(Condition(f"{self.request} = ANY(%s)", [list(criteria.requests)]))
        for system in criteria.systems:
            if self.system is None:
                return None
            values = {"r": system.resource_id, "e": list(system.entitlement_ids)}
            found.append(Condition(*_numbered(self.system, values)))
        found += [
            Condition(f"{self.words} ILIKE %s", [f"%{_escaped(word)}%"]) for word in criteria.words
        ]
        return found

    def _bounds(self, since: datetime | None, before: Position | None) -> Iterable[Condition]:
        if since is not None:
            yield Condition(f"{self.at} >= %s", [since])
        if before is None:
            return
        if self.rank == before.rank:
            yield Condition(f"({self.at}, {self.id}) < (%s, %s)", [before.at, before.id])
        else:
            sign = "<=" if self.rank < before.rank else "<"
            yield Condition(f"{self.at} {sign} %s", [before.at])


def _numbered(sql: str, values: dict[str, Any]) -> tuple[str, list[Any]]:
    """Replace `:r` and `:e` by placeholders, in their order."""
    parameters: list[Any] = []
    parts = sql.split(":")
    text = parts[0]
    for part in parts[1:]:
        parameters.append(values[part[0]])
        text += f"%s{part[1:]}"
    return text, parameters


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


_RECORD_WORDS = (
    "concat_ws(' ', r.reason, r.comment, r.ticket, r.actor_name, r.requester_name, r.subject_name,"
    " r.resource_name, r.entitlement_name, r.policy_name, r.level_name)"
)
# Through the pointer's indexes, so that one person's or system's part of a large table is found
# without an index for each of them on every table.
_OF_SUBJECT = "IN (SELECT c.request_id FROM approvals_currentrequest c WHERE c.subject_id = %s)"
_OF_REQUESTER = _OF_SUBJECT.replace("subject_id", "requester_id")
_IS_PERSON = "= (SELECT u.uid FROM approvals_user u WHERE u.id = %s)"
_OF_SYSTEM = _OF_SUBJECT.replace("subject_id = %s", "entitlement_id = ANY(:e)")


def _configuration(rank: int, name: str, **more: Any) -> Source:
    parts: dict[str, Any] = {
        "person_arms": ("history_user_id = %s",), "system": None, "request": None,
    } | more  # fmt: skip
    return Source(
        name=name, rank=rank, table=f"approvals_historical{name} h", at="history_date",
        id="history_id", kinds={"configuration": "true"}, **parts,
    )  # fmt: skip


#: In the order of their ranks: among things of one moment, the later one here comes first.
SOURCES: tuple[Source, ...] = (
    _configuration(
        0, "user", words="concat_ws(' ', username, name, email, title, history_change_reason)",
        person_arms=("history_user_id = %s", "h.id = %s"),
    ),
    _configuration(1, "group", words="concat_ws(' ', name, title, role, history_change_reason)"),
    _configuration(
        2, "membership", person_arms=("history_user_id = %s", "person_id = %s"),
        words="concat_ws(' ', (SELECT concat_ws(' ', u.username, u.name) FROM approvals_user u"
        " WHERE u.id = h.person_id), (SELECT concat_ws(' ', g.name, g.title) FROM approvals_group g"
        " WHERE g.id = h.group_id), history_change_reason)",
    ),
    _configuration(
        3, "resource", system="h.id = :r",
        words="concat_ws(' ', name, title, description, connector, history_change_reason)",
    ),
    _configuration(
        4, "entitlement", system="h.id = ANY(:e)",
        words="concat_ws(' ', name, description, keywords, (SELECT o.name FROM approvals_resource o"
        " WHERE o.id = h.resource_id), history_change_reason)",
    ),
    _configuration(
        5, "policy", words="concat_ws(' ', name, description, history_change_reason)",
        system="h.id IN (SELECT policy_id FROM approvals_entitlement WHERE id = ANY(:e))",
    ),
    Source(
        name="revisions", rank=6, table="approvals_accessrequest r",
        at="r.occurred_at", id="r.id",
        kinds={
            "requests": "r.event IN ('submitted', 'escalated', 'lapsed', 'cancelled', 'failed')"
            " OR (r.event = 'approved' AND r.actor_id IS NULL)",
            "grants": "r.event IN ('activated', 'ended', 'confirmed', 'failed')",
        },
        person_arms=("r.actor_id = %s", f"r.request_id {_OF_SUBJECT}",
                     f"r.request_id {_OF_REQUESTER}"),
        system="r.entitlement_id = ANY(:e)", request="r.request_id", words=_RECORD_WORDS,
    ),
    Source(
        name="attempts", rank=7, table="approvals_grantevent g",
        at="g.occurred_at", id="g.id", kinds={"grants": "true"},
        person_arms=(f"g.request_id {_OF_SUBJECT}", f"g.request_id {_OF_REQUESTER}"),
        system=f"g.request_id {_OF_SYSTEM}", request="g.request_id",
        words="g.error",
    ),
    Source(
        name="decisions", rank=8, table="approvals_decision d",
        at="d.occurred_at", id="d.id", kinds={"decisions": "true"},
        person_arms=("d.actor_id = %s", f"d.request_id {_OF_SUBJECT}",
                     f"d.request_id {_OF_REQUESTER}"),
        system=f"d.request_id {_OF_SYSTEM}", request="d.request_id",
        words="concat_ws(' ', d.comment, d.actor_name, d.level_name)",
    ),
    Source(
        name="signins", rank=9, table="approvals_signin s",
        at="s.occurred_at", id="s.id", kinds={"signins": "true"},
        person_arms=("s.person_id = %s",), system=None, request="s.uid",
        words="concat_ws(' ', s.person_name, s.method, s.address, s.agent)",
    ),
    Source(
        name="exports", rank=10, table="approvals_reportexport x",
        at="x.occurred_at", id="x.id", kinds={"downloads": "true"},
        person_arms=("x.actor_id = %s",), system=None, request="x.uid",
        words="concat_ws(' ', x.actor_name, x.title, x.query::text)",
    ),
    Source(
        name="verdicts", rank=11, table="approvals_reviewdecision v",
        at="v.occurred_at", id="v.id", kinds={"reviews": "true"},
        person_arms=("v.actor_id = %s", f"v.request_id {_OF_SUBJECT}"),
        system=f"v.request_id {_OF_SYSTEM}", request="v.request_id",
        words="concat_ws(' ', v.reason, v.actor_name, (SELECT concat_ws(' ', i.subject_name,"
        " i.resource_name, i.entitlement_name) FROM approvals_reviewitem i"
        " WHERE i.item_id = v.item_id), (SELECT p.name FROM approvals_reviewcampaign p"
        " WHERE p.campaign_id = v.campaign_id AND p.revision = 1))",
    ),
    Source(
        name="campaigns", rank=12, table="approvals_reviewcampaign p",
        at="p.occurred_at", id="p.id", kinds={"reviews": "true"},
        person_arms=("p.actor_id = %s",), system="p.resource_id = :r", request="p.campaign_id",
        words="concat_ws(' ', p.name, p.resource_name, p.actor_name, p.comment)",
    ),
    Source(
        name="messages", rank=13, table="approvals_requestmessage m",
        at="m.occurred_at", id="m.id", kinds={"questions": "true"},
        person_arms=("m.actor_id = %s", f"m.request_id {_OF_SUBJECT}",
                     f"m.request_id {_OF_REQUESTER}"),
        system=f"m.request_id {_OF_SYSTEM}", request="m.request_id",
        words="concat_ws(' ', m.text, m.actor_name)",
    ),
    Source(
        name="handovers", rank=14, table="approvals_requesthandover w",
        at="w.occurred_at", id="w.id", kinds={"decisions": "true"},
        person_arms=("w.giver_id = %s", "w.taker_id = %s", f"w.request_id {_OF_SUBJECT}",
                     f"w.request_id {_OF_REQUESTER}"),
        system=f"w.request_id {_OF_SYSTEM}", request="w.request_id",
        words="concat_ws(' ', w.comment, w.giver_name, w.taker_name, w.place_name, w.level_name)",
    ),
    _configuration(
        15, "reportschedule", person_arms=("history_user_id = %s", "owner_id = %s"),
        words="concat_ws(' ', name, report, query::text, paused_because, history_change_reason)",
    ),
    Source(
        name="refused", rank=16, table="approvals_refusedattempt t",
        at="t.occurred_at", id="t.id", kinds={"decisions": "true"},
        person_arms=("t.actor_id = %s", f"t.request_id {_OF_SUBJECT}",
                     f"t.request_id {_OF_REQUESTER}"),
        system=f"t.request_id {_OF_SYSTEM}", request="t.request_id",
        words="concat_ws(' ', t.comment, t.actor_name, t.rule)",
    ),
    Source(
        name="runs", rank=17, table="approvals_reportrun n",
        at="n.occurred_at", id="n.id", kinds={"downloads": "true"},
        person_arms=("n.owner_id = %s", "n.actor_id = %s"), system=None, request="n.run_id",
        words="concat_ws(' ', n.schedule_name, n.report, n.owner_name, n.reason)",
    ),
    _configuration(
        18, "publickey", person_arms=("history_user_id = %s", "person_id = %s"),
        words="concat_ws(' ', fingerprint, text, history_change_reason)",
    ),
    Source(
        name="erasures", rank=19, table="audit_erasure z",
        at="z.occurred_at", id="z.id", kinds={"erasures": "true"},
        person_arms=("z.person_id = %s", f"z.asked_by {_IS_PERSON}", f"z.decided_by {_IS_PERSON}"),
        system=None, request="z.erasure_id",
        words="concat_ws(' ', z.reference, z.comment, z.asked_by_name, z.decided_by_name)",
    ),
)  # fmt: skip
