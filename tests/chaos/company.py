"""The people of a run, what they may ask for, and their sign-ins: `python -m tests.chaos.company`.

Prints, as JSON, the session of everybody who uses the pages.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import django

django.setup()

from django.contrib.auth import (  # noqa: E402
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
)
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402

from approvals.models import (  # noqa: E402
    Entitlement,
    Group,
    Membership,
    OutboxItem,
    Policy,
    Resource,
    User,
)
from tests.chaos import targets  # noqa: E402
from tests.world import rule  # noqa: E402

#: Seconds after which a level that nobody decides on lapses.
QUIET_SECONDS = 6


def build(*, people: int) -> dict[str, str]:
    """Make the company; return the session keys of those who use the pages."""
    eng = Group.objects.create(name="eng", title="Engineering")
    operators = Group.objects.create(name="operators", title="Operators", role=Group.Role.OPERATOR)
    boss = _person("boss", None)
    operator = _person("operator", None)
    Membership.objects.create(person=operator, group=operators)
    askers = [_person(f"p{number}", boss) for number in range(people)]
    for asker in askers:
        Membership.objects.create(person=asker, group=eng)
    policies = {
        name: Policy.objects.create(name=name, document={"rules": [found]})
        for name, found in _rules().items()
    }
    for name in (*targets.FOLDERS, targets.DATABASE):
        in_database = name == targets.DATABASE
        resource = Resource.objects.create(
            name=name,
            connector="postgres_role" if in_database else f"chaos_{name}",
            secret="env:CHAOS_TARGET_DSN" if in_database else "",
            owner=boss,
        )
        for entitlement in targets.ENTITLEMENTS:
            Entitlement.objects.create(
                resource=resource,
                name=entitlement,
                risk="low",
                policy=policies[entitlement],
                settings={"role": f"chaos_{entitlement}"} if in_database else {"name": entitlement},
            )
    OutboxItem.objects.all().delete()
    return {person.username: _session(person) for person in [boss, *askers]}


def _rules() -> dict[str, dict[str, Any]]:
    level = {
        "name": "Manager",
        "from": [{"kind": "manager"}],
        "fallback": [{"kind": "owner"}],
        "quorum": 1,
        "within": 3600,
        "remind": 1800,
        "escalate": [],
    }
    quiet = level | {"within": QUIET_SECONDS, "remind": QUIET_SECONDS // 2}
    return {
        "read": rule("all", groups=["eng"], longest=3600, auto_approve=True),
        "write": rule("all", groups=["eng"], longest=3600, levels=[level]),
        "quiet": rule("all", groups=["eng"], longest=3600, levels=[quiet]),
    }


def _person(login: str, manager: User | None) -> User:
    return User.objects.create_user(
        login, f"{login}@example.com", None, name=login.title(), manager=manager
    )


def _session(person: User) -> str:
    session = SessionStore()
    session[SESSION_KEY] = str(person.pk)
    session[BACKEND_SESSION_KEY] = "allauth.account.auth_backends.AuthenticationBackend"
    session[HASH_SESSION_KEY] = person.get_session_auth_hash()
    session.create()
    assert session.session_key is not None
    return session.session_key


if __name__ == "__main__":
    targets.install()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jitportal.settings")
    sys.stdout.write(json.dumps(build(people=int(sys.argv[1]))) + "\n")
