"""The demo's SSH target, which is there only where the machine has an sshd.

What the demo wrote about its sshd (jitportal/embedded/bastion.py) becomes a resource with two
entitlements, and alice's key gets into her settings. No past request is for it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from approvals.domain.refusals import Invalid
from approvals.management.demo_world import catalogue
from approvals.management.demo_world.dating import dated
from approvals.models import Entitlement, Policy, Resource, User
from approvals.services import ssh_keys

NAME = "bastion"
Document = dict[str, Any]


@dataclass(frozen=True)
class _Right:
    name: str
    risk: str
    settings: Document
    policy: Document
    description: str
    keywords: str


def _rights(told: Document) -> tuple[_Right, _Right]:
    both = {"account": told["account"], "end_sessions": told["ends_sessions"]}
    return (
        _Right(
            "shell", "medium", {"principals": [told["shell"]], **both}, catalogue.shell_policy(),
            "A shell at the bastion of staging. It ends with the access.", "ssh login server",
        ),
        _Right(
            "logs", "low",
            {"principals": [told["logs"]], "force_command": told["logs_command"], **both},
            catalogue.read_policy(hours=4),
            "The last sign-ins at the bastion, and no shell.", "ssh log sshd tail",
        ),
    )  # fmt: skip


def keep(told: Document, *, people: dict[str, User], at: datetime) -> bool:
    """The portal has this target as `told`, since `at` where it is new; whether it is new.

    A target that is there already gets the address of today, now.
    """
    operator = people["admin"]
    resource = Resource.objects.filter(name=NAME).first()
    new = resource is None
    if resource is None:
        at += timedelta(minutes=25)
        reason = "Set up with the portal."
        resource = Resource(
            name=NAME,
            title="SSH · staging bastion",
            description="The way into staging. Certificates of some minutes or hours, no keys.",
            connector="ssh_certificate",
            secret=told["secret"],
            owner=people["carol"],
        )
    else:
        reason = "The demo's sshd moved."
    resource.settings = {**resource.settings, **told["resource"]}
    resource.connect_hint = told["hint"]
    dated(resource, at=at, reason=reason, by=operator).save()
    for right in _rights(told):
        row = Entitlement.objects.filter(resource=resource, name=right.name).first()
        if row is None:
            policy = Policy(name=f"{NAME}-{right.name}", document=right.policy)
            dated(policy, at=at, reason=reason, by=operator).save()
            row = Entitlement(
                resource=resource, name=right.name, description=right.description,
                risk=right.risk, policy=policy, keywords=right.keywords,
            )  # fmt: skip
        row.settings = {**row.settings, **right.settings}
        dated(row, at=at, reason=reason, by=operator).save()
    _give_key(people["alice"], told["key"])
    return new


def _give_key(person: User, line: str) -> None:
    if line in ssh_keys.lines(person.pk):
        return
    try:
        ssh_keys.add(actor=person, text=line)
    except Invalid:  # somebody else has it by now, or she has many: the visitor did that
        return
