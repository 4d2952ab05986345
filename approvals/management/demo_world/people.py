"""Who works at the demo's company: names, teams, managers, groups and portal roles."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.hashers import make_password

from approvals.management.demo_world.dating import dated
from approvals.models import Group, Membership, User

PASSWORD = "demo"  # noqa: S105 - for everyone to know


@dataclass(frozen=True)
class _Person:
    login: str
    name: str
    title: str
    manager: str
    timezone: str
    groups: tuple[str, ...]


#: Managers stand above the people whom they manage.
PEOPLE = (
    _Person("ruth", "Ruth Adler", "Chief operating officer", "", "America/New_York", ("heads",)),
    _Person("erin", "Erin Sato", "Head of data", "ruth", "Europe/London", ("heads",)),
    _Person("bob", "Bob Lindqvist", "Engineering manager, Payments", "erin", "Europe/Stockholm",
            ("eng",)),
    _Person("carol", "Carol Adeyemi", "Data owner and security lead", "erin", "Europe/London",
            ("data-owners", "security")),
    _Person("ingrid", "Ingrid Solheim", "Lead, site reliability", "erin", "Europe/Oslo", ("sre",)),
    _Person("sofia", "Sofia Ricci", "Lead, analytics", "erin", "Europe/Rome", ("analysts",)),
    _Person("dora", "Dora Klein", "Compliance officer", "ruth", "Europe/Berlin", ("compliance",)),
    _Person("admin", "Ada Nilsson", "Portal operator", "ingrid", "UTC", ("operators",)),
    _Person("alice", "Alice Moreau", "Engineer, Payments", "bob", "Europe/Paris", ("eng",)),
    _Person("marta", "Marta Kowalczyk", "Engineer, Payments", "bob", "Europe/Warsaw", ("eng",)),
    _Person("tariq", "Tariq Hussain", "Engineer, Payments", "bob", "Europe/London", ("eng",)),
    _Person("yuki", "Yuki Tanaka", "Engineer, Payments", "bob", "Asia/Tokyo", ("eng",)),
    _Person("felix", "Felix Brandt", "Engineer, Payments", "bob", "Europe/Berlin", ("eng",)),
    _Person("priya", "Priya Raman", "Staff data engineer", "carol", "Asia/Kolkata",
            ("data-owners",)),
    _Person("tomasz", "Tomasz Zielinski", "Database engineer", "carol", "Europe/Warsaw",
            ("data-owners",)),
    _Person("diego", "Diego Fuentes", "Site reliability engineer", "ingrid", "America/Mexico_City",
            ("sre",)),
    _Person("nadia", "Nadia Benali", "Site reliability engineer", "ingrid", "Africa/Casablanca",
            ("sre",)),
    _Person("liam", "Liam O'Connor", "Analyst", "sofia", "Europe/Dublin", ("analysts",)),
    _Person("mei", "Mei Chen", "Analyst", "sofia", "Asia/Singapore", ("analysts",)),
)  # fmt: skip

#: Has left the company in the course of the history.
LEAVER = "felix"

GROUPS = (
    ("eng", "Engineering", ""),
    ("sre", "Site reliability", ""),
    ("analysts", "Analytics", ""),
    ("data-owners", "Data owners", ""),
    ("security", "Security", ""),
    ("heads", "Heads of department", ""),
    ("compliance", "Compliance", Group.Role.COMPLIANCE),
    ("operators", "Portal operators", Group.Role.OPERATOR),
    # Empty: people come into it for the time of a grant.
    ("report-readers", "Report readers, for a while", Group.Role.COMPLIANCE),
)


def create(*, began_at: datetime) -> dict[str, User]:
    """Create groups and people; return the people by login. Their history begins at `began_at`.

    All have the demo's password, which the validators would refuse.
    """
    groups: dict[str, Group] = {}
    for name, title, role in GROUPS:
        group = Group(name=name, title=title, role=role)
        dated(group, at=began_at, reason="Set up with the portal.").save()
        groups[name] = group
    hashed = make_password(PASSWORD)
    found: dict[str, User] = {}
    for number, who in enumerate(PEOPLE):
        at = began_at + timedelta(minutes=5, seconds=number)
        user = User(
            username=who.login,
            email=f"{who.login}@example.com",
            name=who.name,
            title=who.title,
            manager=found[who.manager] if who.manager else None,
            timezone=who.timezone,
            password=hashed,
        )
        dated(user, at=at, reason="Imported from the staff list.").save()
        found[who.login] = user
        for name in who.groups:
            membership = Membership(person=user, group=groups[name])
            dated(membership, at=at, reason="Imported from the staff list.").save()
    return found
