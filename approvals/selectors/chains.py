"""The approval chain of a request, loaded and evaluated against the directory as it stands.

One query for the votes and one for the people that the chain can reach, however large the company.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from django.db import connection

from approvals.domain import chain as chains
from approvals.domain import escalation, policy
from approvals.domain.facts import Directory, Parties, Person, PersonKey
from approvals.domain.handing_over import Handover
from approvals.models import AccessRequest, Resource
from approvals.models.catalogue import Policy

_PEOPLE = """
WITH RECURSIVE up AS (
    SELECT id, manager_id, 0 AS depth FROM approvals_user WHERE id = %(subject)s
    UNION
    SELECT u.id, u.manager_id, up.depth + 1
    FROM approvals_user u JOIN up ON u.id = up.manager_id
    WHERE up.depth < %(depth)s
), reached AS (
    SELECT id FROM up
    UNION SELECT unnest(%(ids)s::bigint[])
    UNION SELECT giver_id FROM approvals_requesthandover WHERE request_id = %(request)s
    UNION SELECT taker_id FROM approvals_requesthandover WHERE request_id = %(request)s
    UNION SELECT id FROM approvals_user WHERE lower(username) = ANY(%(logins)s)
    UNION SELECT m.person_id FROM approvals_membership m
          JOIN approvals_group g ON g.id = m.group_id WHERE g.name = ANY(%(groups)s)
)
SELECT u.id, u.username, u.name, u.manager_id, u.is_active,
       ARRAY(SELECT g.name FROM approvals_membership m JOIN approvals_group g ON g.id = m.group_id
             WHERE m.person_id = u.id AND g.name = ANY(%(groups)s)),
       CASE WHEN u.id = %(subject)s THEN (
             SELECT json_agg(json_build_array(giver_id, taker_id, level, occurred_at)
                             ORDER BY number)
             FROM approvals_requesthandover WHERE request_id = %(request)s) END
FROM approvals_user u JOIN reached ON reached.id = u.id
"""


class People(NamedTuple):
    """The people that a chain can reach, their names, and who of them handed over to whom."""

    directory: Directory
    names: dict[int, str]
    handovers: tuple[Handover, ...]


@dataclass(frozen=True)
class ChainView:
    """A request's chain with everything that decides who may act on it at one moment."""

    chain: chains.Chain
    parties: Parties
    directory: Directory
    names: dict[int, str]
    votes: tuple[escalation.Vote, ...]
    opened_at: datetime
    progress: escalation.Progress
    electorate: frozenset[int]
    handovers: tuple[Handover, ...] = ()

    @property
    def level(self) -> chains.Level | None:
        """Return the open level, if any."""
        number = self.progress.level
        return self.chain.levels[number - 1] if number else None

    def names_of(self, people: Iterable[int]) -> list[str]:
        """Return the names of `people`, sorted."""
        return sorted(self.names.get(person, "?") for person in people)

    def refusal(self, actor: int) -> str | None:
        """Return why `actor` may not decide now, or None when they may."""
        return escalation.refusal(self.chain, self.progress, self.parties, self.directory, actor)

    def closed(self) -> "ChainView":
        """Return the view of a request that is over: no level is open, whatever the votes say.

        Votes don't know of a cancelled request; to its chain it is as if nobody had decided.
        """
        if self.progress.state != "pending":
            return self
        return replace(
            self, progress=replace(self.progress, state="lapsed", level=None, due_at=None)
        )

    def no_taker(self, *, giver: int, taker: int, at: datetime) -> str | None:
        """Return why `giver`, who may decide now, can't hand over to `taker`, or None."""
        return escalation.no_taker(
            self.chain, self.progress, self.parties, self.directory,
            giver=giver, taker=taker, at=at,
        )  # fmt: skip

    def giving(self, giver: int) -> int:
        """Return whose place `giver`, who may decide now, would hand over."""
        found = escalation.giving(self.chain, self.progress, self.parties, self.directory, giver)
        return int(str(found))

    def with_vote(self, vote: escalation.Vote, *, now: datetime) -> "ChainView":
        """Return the view as it stands once `vote` is counted."""
        return evaluate(
            self.chain,
            (*self.votes, vote),
            parties=self.parties,
            directory=self.directory,
            names=self.names,
            opened_at=self.opened_at,
            now=now,
            handovers=self.handovers,
        )


@lru_cache(maxsize=2048)
def _pinned(history_id: int, rule_name: str) -> policy.Rule:
    # A history row never changes, so what was parsed of it stays true.
    row = Policy.history.model.objects.only("document").get(history_id=history_id)
    return policy.rule(policy.parse(row.document), rule_name)


def pinned_rule(record: AccessRequest) -> policy.Rule:
    """Return the rule that the request came under, from the pinned version of its policy."""
    rule = _pinned(record.policy_record_id, record.rule_name)
    return rule.for_extension() if record.extends else rule


def evaluate(
    chain: chains.Chain,
    votes: tuple[escalation.Vote, ...],
    *,
    parties: Parties,
    directory: Directory,
    names: dict[int, str],
    opened_at: datetime,
    now: datetime,
    handovers: tuple[Handover, ...] = (),
) -> ChainView:
    """Return the chain's view at `now` for facts that are already loaded."""
    progress = escalation.replay(chain, votes, opened_at=opened_at, now=now, handovers=handovers)
    return ChainView(
        chain=chain,
        parties=parties,
        directory=directory,
        names=names,
        votes=votes,
        opened_at=opened_at,
        progress=progress,
        electorate=frozenset(
            int(str(person))
            for person in escalation.electorate(chain, progress, parties, directory)
        ),
        handovers=handovers,
    )


def people(
    chain: chains.Chain,
    *,
    subject: int,
    also: Iterable[int | None] = (),
    request_id: uuid.UUID | None = None,
) -> People:
    """Return the people that `chain` can reach from `subject`, and their names (one query).

    With a request, also its handovers, and those whom they concern.
    """
    sources = list(chain.sources())
    parameters: dict[str, Any] = {
        "subject": subject,
        "request": request_id,
        "depth": max((s.of for s in sources if s.kind == "manager"), default=0),
        "ids": [person for person in {subject, *also} if person is not None],
        "logins": sorted({s.name.lower() for s in sources if s.kind == "person"}),
        "groups": sorted({s.name for s in sources if s.kind == "group"}),
    }
    found: dict[PersonKey, Person] = {}
    logins: dict[str, PersonKey] = {}
    names: dict[int, str] = {}
    with connection.cursor() as cursor:
        cursor.execute(_PEOPLE, parameters)
        rows = cursor.fetchall()
        for pk, login, name, manager, active, groups, _ in rows:
            found[pk] = Person(key=pk, manager=manager, groups=frozenset(groups), active=active)
            logins[login.lower()] = pk
            names[pk] = name or login
    for source in sources:
        if source.kind == "person" and (pk := logins.get(source.name.lower())):
            logins[source.name] = pk
    handed = next((row[-1] for row in rows if row[-1]), ())
    handovers = tuple(
        Handover(giver, taker, level, datetime.fromisoformat(at))
        for giver, taker, level, at in handed
    )
    return People(Directory(found, logins), names, handovers)


def votes_of(record: AccessRequest) -> tuple[escalation.Vote, ...]:
    """Return the votes that count on a request, oldest first (one query)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT actor_id, verdict, occurred_at FROM approvals_decision"
            " WHERE request_id = %s ORDER BY revision",
            [record.request_id],
        )
        return tuple(
            escalation.Vote(actor=actor, verdict=verdict, at=at)
            for actor, verdict, at in cursor.fetchall()
        )


def load(
    record: AccessRequest,
    *,
    now: datetime,
    actor: int | None = None,
    also: int | None = None,
    owner: int | None = None,
) -> ChainView | None:
    """Return the chain of `record` at `now`, or None where its rule approves at once.

    Never as of before the record's own moment: what it says has happened. `owner` spares a query
    to those who know the resource's owner already;
    `also` is somebody who may be asked, though the chain doesn't reach them.
    """
    now = max(now, record.occurred_at)
    rule = pinned_rule(record)
    if rule.chain is None:
        return None
    if owner is None:
        owner = (
            Resource.objects.filter(entitlements=record.entitlement_id)
            .values_list("owner_id", flat=True)
            .get()
        )
    votes = votes_of(record) if record.revision > 1 else ()
    directory, names, handovers = people(
        rule.chain,
        request_id=record.request_id,
        subject=record.subject_id,
        also=[record.requester_id, owner, actor, also, *(int(str(v.actor)) for v in votes)],
    )
    return evaluate(
        rule.chain,
        votes,
        parties=Parties(requester=record.requester_id, subject=record.subject_id, owner=owner),
        directory=directory,
        names=names,
        opened_at=record.submitted_at,
        now=now,
        handovers=handovers,
    )


def preview(
    chain: chains.Chain, *, requester: int, subject: int, owner: int, now: datetime
) -> ChainView:
    """Return the chain as it would open if the request were sent now (one query)."""
    directory, names, _ = people(chain, subject=subject, also=[requester, owner])
    return evaluate(
        chain,
        (),
        parties=Parties(requester=requester, subject=subject, owner=owner),
        directory=directory,
        names=names,
        opened_at=now,
        now=now,
    )
