"""The cast in a small company: alice asks, bob and carol decide, erin is above, dora reads.

`orders-db · read-write` needs bob (or erin after a minute) and then one data owner; `orders-db ·
read` is approved by its rule; `orders-db · owner` needs two data owners at once.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from approvals import handlers
from approvals.models import (
    AccessRequest,
    Entitlement,
    Group,
    Membership,
    OutboxItem,
    Policy,
    Resource,
    User,
)
from approvals.selectors import clock
from approvals.selectors import requests as reads
from approvals.services import grants, requests

MANAGER: dict[str, Any] = {
    "name": "Manager",
    "from": [{"kind": "manager"}],
    "fallback": [{"kind": "owner"}],
    "quorum": 1,
    "within": 60,
    "remind": 20,
    "escalate": [{"to": [{"kind": "manager", "of": 2}], "within": 60, "keep": True}],
}
DATA: dict[str, Any] = {
    "name": "Data owners",
    "from": [{"kind": "group", "name": "data"}],
    "fallback": [],
    "quorum": 1,
    "within": 60,
    "remind": 20,
    "escalate": [{"to": [{"kind": "person", "name": "erin"}], "within": 60, "keep": True}],
}


@dataclass(frozen=True)
class World:
    """Everyone and everything of the small company."""

    alice: User
    bob: User
    carol: User
    dan: User
    erin: User
    dora: User
    admin: User
    mallory: User
    resource: Resource
    read: Entitlement
    write: Entitlement
    own: Entitlement

    def ask(
        self,
        *,
        what: Entitlement | None = None,
        by: User | None = None,
        subject: User | None = None,
        minutes: float = 30,
        now: datetime | None = None,
        **more: Any,
    ) -> AccessRequest:
        """Send a request, by default alice's for read-write."""
        by = by or self.alice
        return requests.submit(
            actor=by,
            subject=subject or by,
            entitlement=what or self.write,
            duration=timedelta(minutes=minutes),
            reason=more.pop("reason", "Reprocess stuck refunds."),
            now=now or clock.now(),
            **more,
        )

    def decide(
        self,
        who: User,
        request: AccessRequest,
        verdict: str = "approve",
        *,
        seen: int | None = None,
        now: datetime | None = None,
        comment: str = "Looked at it.",
    ) -> AccessRequest:
        """Decide on the request's newest revision (or the one given as `seen`)."""
        return requests.decide(
            actor=who,
            request_id=request.request_id,
            verdict=verdict,
            seen_revision=seen or reads.current(request.request_id).revision,
            comment=comment,
            now=now or clock.now(),
        )

    def approved(self, **more: Any) -> AccessRequest:
        """Return a request that bob and carol have approved."""
        request = self.ask(**more)
        self.decide(self.bob, request)
        return self.decide(self.carol, request)

    def active(self, **more: Any) -> AccessRequest:
        """Return a request that is active on the no-op target."""
        request = self.approved(**more)
        handlers.work("provisioning")
        return reads.current(request.request_id)

    def ended(self, **more: Any) -> AccessRequest:
        """Return a request that was active and is gone again because its time ran out."""
        request = self.active(**more)
        assert request.ends_at is not None
        grants.end_due(now=request.ends_at)
        handlers.work("provisioning", now=request.ends_at)
        return reads.current(request.request_id)

    def newest(self, request: AccessRequest | uuid.UUID) -> AccessRequest:
        """Return the request as it stands."""
        return reads.current(request if isinstance(request, uuid.UUID) else request.request_id)


def notices(kind: str | None = None) -> list[tuple[str, int]]:
    """Return (kind, recipient) of the notices that wait in the outbox."""
    rows = OutboxItem.objects.filter(topic="notice.send").order_by("id")
    found = [(row.payload["kind"], row.payload["recipient"]) for row in rows]
    return [row for row in found if kind is None or row[0] == kind]


def rule(name: str, *, groups: list[str], longest: int, **more: Any) -> dict[str, Any]:
    """Return one rule of a policy document."""
    return {"name": name, "groups": groups, "longest": longest, **more}


def build(*, now: datetime) -> World:
    """Create the company; nothing waits in the outbox afterwards."""
    groups = {
        name: Group.objects.create(name=name, title=title, role=role)
        for name, title, role in [
            ("eng", "Engineering", ""),
            ("data", "Data owners", ""),
            ("compliance", "Compliance", Group.Role.COMPLIANCE),
            ("operators", "Operators", Group.Role.OPERATOR),
        ]
    }

    def person(login: str, manager: User | None, *of: str, **more: Any) -> User:
        user = User.objects.create_user(
            login, f"{login}@example.com", None, name=login.title(), manager=manager, **more
        )
        for name in of:
            Membership.objects.create(person=user, group=groups[name])
        return user

    erin = person("erin", None)
    bob = person("bob", erin)
    carol = person("carol", erin, "data")
    resource = Resource.objects.create(
        name="orders-db", title="PostgreSQL · prod", connector="noop", owner=carol
    )

    def entitlement(name: str, risk: str, *rules: dict[str, Any]) -> Entitlement:
        policy = Policy.objects.create(name=f"orders-{name}", document={"rules": list(rules)})
        return Entitlement.objects.create(resource=resource, name=name, risk=risk, policy=policy)

    eng = ["eng", "data"]
    world = World(
        alice=person("alice", bob, "eng"),
        bob=bob,
        carol=carol,
        dan=person("dan", carol, "data"),
        erin=erin,
        dora=person("dora", erin, "compliance"),
        admin=person("admin", None, "operators"),
        mallory=person("mallory", bob),
        resource=resource,
        read=entitlement("read", "low", rule("all", groups=eng, longest=28_800, auto_approve=True)),
        write=entitlement(
            "read-write", "high", rule("eng", groups=eng, longest=28_800, levels=[MANAGER, DATA])
        ),
        own=entitlement(
            "owner",
            "high",
            rule("eng", groups=eng, longest=7_200, ticket=True, levels=[DATA | {"quorum": 2}]),
        ),
    )
    OutboxItem.objects.all().delete()
    return world
