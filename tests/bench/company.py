"""In a child: a company of 2,000 people and 200 entitlements, the same for every size of history.

p1 to p100 are managers, p1 to p3 also own the data, everybody else reports to one of p1 to p95.
`asker` and `decider` are those whose pages are measured; what they have of their own never depends
on how much the others have.
"""

from __future__ import annotations

from typing import Any

from approvals.models import (
    Entitlement,
    Group,
    Membership,
    OutboxItem,
    Policy,
    Resource,
    User,
)

PEOPLE = 2_000
MANAGERS = 100
RESOURCES = 20
ENTITLEMENTS_EACH = 10
#: Their manager is `decider`.
REPORTS = 40
DAY_SECONDS = 86_400

MANAGER: dict[str, Any] = {
    "name": "Manager",
    "from": [{"kind": "manager"}],
    "fallback": [{"kind": "owner"}],
    "quorum": 1,
    "within": 30 * DAY_SECONDS,
    "remind": 10 * DAY_SECONDS,
    "escalate": [{"to": [{"kind": "manager", "of": 2}], "within": 30 * DAY_SECONDS, "keep": True}],
}
DATA: dict[str, Any] = {
    "name": "Data owners",
    "from": [{"kind": "group", "name": "data"}],
    "fallback": [],
    "quorum": 1,
    "within": 30 * DAY_SECONDS,
    "remind": 10 * DAY_SECONDS,
    "escalate": [{"to": [{"kind": "manager", "of": 2}], "within": 30 * DAY_SECONDS, "keep": True}],
}


def build() -> dict[str, Any]:
    """Make the company. Returns nothing of interest: it answers a parent's question."""
    boss = User.objects.create_user("boss", "boss@example.com", None, name="Bo Boss")
    logins = [f"p{number}" for number in range(1, MANAGERS)]
    User.objects.bulk_create(_person(login, boss) for login in [*logins, "decider"])
    managers = User.objects.in_bulk([*logins, "decider"], field_name="username")
    others = [
        _person(f"p{number}", managers[f"p{1 + number % 95}"])
        for number in range(MANAGERS + 1, PEOPLE - REPORTS)
    ]
    others += [_person(f"r{number}", managers["decider"]) for number in range(REPORTS)]
    User.objects.bulk_create([*others, _person("asker", managers["p1"])])
    groups = {name: Group.objects.create(name=name) for name in ("eng", "data")}
    Membership.objects.bulk_create(
        Membership(person=person, group=groups["eng"]) for person in User.objects.all()
    )
    Membership.objects.bulk_create(
        Membership(person=managers[login], group=groups["data"]) for login in ("p1", "p2", "p3")
    )
    rules = [
        {"name": name, "groups": ["eng"], "longest": 30 * DAY_SECONDS, "levels": levels}
        for name, levels in (("two", [MANAGER, DATA]), ("one", [MANAGER]))
    ]
    policy = Policy.objects.create(name="usual", document={"rules": rules})
    for number in range(RESOURCES):
        resource = Resource.objects.create(
            name=f"db-{number}", title="PostgreSQL · prod", connector="bench", owner=managers["p9"],
            settings={"database": f"db-{number}"},
        )  # fmt: skip
        for role in range(ENTITLEMENTS_EACH):
            Entitlement.objects.create(
                resource=resource, name=f"role-{role}", risk="medium", policy=policy
            )
    OutboxItem.objects.all().delete()
    return {}


def _person(login: str, manager: User) -> User:
    person = User(username=login, email=f"{login}@example.com", name=login.title(), manager=manager)
    person.password = "!"
    return person
