"""What can be asked for at the demo's company, and under which policies.

`orders-db` is the quick start's second PostgreSQL and `jitportal` the portal itself: both real.
So is the target of bastion.py, where there is one.
"""

from datetime import datetime, timedelta
from typing import Any

from approvals.management.demo_world.dating import dated
from approvals.models import Entitlement, Policy, Resource, User

Document = dict[str, Any]

HOUR = 3600
_ASKERS = ["data-owners", "eng", "sre"]
_MANAGER: Document = {"kind": "manager"}
_ABOVE: Document = {"kind": "manager", "of": 2}
_OWNERS: Document = {"kind": "group", "name": "data-owners"}
_ERIN: Document = {"kind": "person", "name": "erin"}
_HEADS: Document = {"kind": "group", "name": "heads"}


def _level(
    name: str,
    source: Document,
    *,
    within: int,
    remind: int,
    above: Document | None = None,
    quorum: int = 1,
) -> Document:
    """Return a level that, when it stays silent, goes on to `above` for as long again."""
    step = {"to": [above], "within": within, "keep": True}
    return {
        "name": name,
        "from": [source],
        "fallback": [{"kind": "owner"}],
        "quorum": quorum,
        "within": within,
        "remind": remind,
        "escalate": [step] if above else [],
    }


def _rule(name: str, groups: list[str], hours: int, **more: Any) -> Document:
    return {"name": name, "groups": groups, "longest": hours * HOUR} | more


def read_policy(*, hours: int = 8) -> Document:
    """Return the policy of low risk: its rule approves."""
    return {
        "rules": [
            _rule("Reading for a working day", [*_ASKERS, "analysts"], hours, auto_approve=True)
        ]
    }


def longer_reading_policy() -> Document:
    """Return the policy of low risk as it is today: a manager answers for more than a day's work.

    The answer is wanted soon, since whoever asks stands before a customer's case.
    """
    level = _level("Manager", _MANAGER, within=HOUR // 2, remind=HOUR // 4)
    level["escalate"] = [{"to": [_ABOVE], "within": 4 * HOUR, "keep": True}]
    longer = _rule("Reading for longer", _ASKERS, 48, reason_min=10, levels=[level])
    return {"rules": [*read_policy()["rules"], longer | {"last_resort": [_HEADS]}]}


def write_policy(*, within: int, remind: int) -> Document:
    """Return the policy of read-write: the manager, then any one data owner. Times in seconds."""
    levels = [
        _level("Manager", _MANAGER, within=within, remind=remind, above=_ABOVE),
        _level("Data owners", _OWNERS, within=within, remind=remind, above=_ERIN),
    ]
    rule = _rule("Changing data", _ASKERS, 8, reason_min=10, levels=levels, last_resort=[_HEADS])
    return {"rules": [rule]}


def owner_policy() -> Document:
    """Return the policy of the owner role: a ticket, the manager, then two data owners."""
    times = {"within": 4 * HOUR, "remind": HOUR}
    levels = [
        _level("Manager", _MANAGER, above=_ABOVE, **times),
        _level("Two data owners", _OWNERS, above=_ERIN, quorum=2, **times),
    ]
    rule = _rule(
        "Changing the schema", _ASKERS, 2, ticket=True, reason_min=20, levels=levels,
        last_resort=[_HEADS],
    )  # fmt: skip
    return {"rules": [rule]}


def shell_policy() -> Document:
    """Return the policy of a shell: the manager alone."""
    times = {"within": 4 * HOUR, "remind": HOUR}
    level = _level("Manager", _MANAGER, above=_ABOVE, **times)
    rule = _rule("Working on staging", _ASKERS, 8, reason_min=10, levels=[level])
    return {"rules": [rule | {"last_resort": [_HEADS]}]}


def reports_policy() -> Document:
    """Return the policy of reading the portal's own reports: one head of department.

    Engineers' managers are asked first.
    """
    level = _level("Heads of department", _HEADS, within=8 * HOUR, remind=2 * HOUR)
    groups = ["analysts", "data-owners", "security", "sre"]
    manager = _level("Manager", _MANAGER, within=8 * HOUR, remind=2 * HOUR, above=_ABOVE)
    return {
        "rules": [
            _rule("Reports for a day", groups, 24, reason_min=20, levels=[level]),
            _rule("Reports for engineers", ["eng"], 8, reason_min=20, levels=[manager, level]),
        ]
    }


#: Response times of read-write: what they were, what they became, and what the demo shows.
WRITE_AT_FIRST = write_policy(within=8 * HOUR, remind=2 * HOUR)
WRITE_LATER = write_policy(within=4 * HOUR, remind=HOUR)
WRITE_TODAY = write_policy(within=120, remind=45)


def create(*, people: dict[str, User], began_at: datetime) -> dict[str, Entitlement]:
    """Create resources, policies and entitlements as they were at `began_at`.

    Returns the entitlements by name; the names are distinct across the two resources.
    """
    operator = people["admin"]
    at = began_at + timedelta(minutes=20)

    def save(row: Any) -> Any:
        dated(row, at=at, reason="Set up with the portal.", by=operator).save()
        return row

    orders = save(
        Resource(
            name="orders-db",
            title="PostgreSQL · prod",
            description="Orders, customers and refunds of the shop.",
            connector="postgres_role",
            settings={},
            secret="env:ORDERS_DB_DSN",  # noqa: S106 - a reference
            owner=people["carol"],
            connect_hint="This is the demo: everybody's password at orders-db is “demo”.",
        )
    )
    portal = save(
        Resource(
            name="jitportal",
            title="This portal",
            description="Reports and records of all access, in this portal.",
            connector="portal",
            owner=people["dora"],
        )
    )
    rows = (
        (orders, "read", "low", {"role": "orders_read"}, read_policy(hours=4),
         "Look at orders, customers and refunds. No card data.", "select query support refunds"),
        (orders, "read-write", "high", {"role": "orders_rw"}, WRITE_AT_FIRST,
         "Change orders, customers and refunds. No card data.", "update fix refunds correction"),
        (orders, "owner", "high", {"role": "orders_owner"}, owner_policy(),
         "Everything in the database: tables, columns, card data.", "schema migration ddl admin"),
        (portal, "report-reader", "medium", {"group": "report-readers"}, reports_policy(),
         "Read every report and every record of access.", "audit compliance evidence"),
    )  # fmt: skip
    found: dict[str, Entitlement] = {}
    for resource, name, risk, settings, document, description, keywords in rows:
        policy = save(Policy(name=f"{resource.name}-{name}", document=document))
        found[name] = save(
            Entitlement(
                resource=resource,
                name=name,
                description=description,
                risk=risk,
                policy=policy,
                settings=settings,
                keywords=keywords,
            )
        )
    return found


def change_policy(
    entitlement: Entitlement, document: Document, *, at: datetime, by: User, reason: str
) -> None:
    """Give the entitlement's policy its next version."""
    policy = Policy.objects.get(entitlements=entitlement)
    policy.document = document
    dated(policy, at=at, reason=reason, by=by).save()
